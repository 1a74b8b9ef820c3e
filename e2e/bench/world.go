package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

const (
	namespace   = "bench" // of everything that is created
	nodeName    = "bench-node"
	servicePort = 80
	targetPort  = 8080
	writers     = 32 // requests to the API server at a time
)

func serviceName(n int) string { return fmt.Sprintf("service-%05d", n) }

// endpointAddr is the address of an endpoint, different for each.
func endpointAddr(service, endpoint int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|uint32(64+service%64)<<16|uint32(service/64)<<8|uint32(endpoint)&0xff)
	return netip.AddrFrom4(b)
}

// addedAddr is the address of the endpoint that a change adds to a Service.
func addedAddr(service int) netip.Addr { return endpointAddr(service, 0xff) }

// populate makes the API server have the Services and slices, and the slices their first endpoints only.
func populate(ctx context.Context, client kubernetes.Interface, o options) error {
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
	if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for n := range o.Services {
		group.Go(func() error { return populateService(ctx, client, n, o.Endpoints) })
	}
	return group.Wait()
}

func populateService(ctx context.Context, client kubernetes.Interface, n, endpoints int) error {
	_, err := client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: serviceName(n)},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{
			Port: servicePort, TargetPort: intstr.FromInt32(targetPort), Protocol: corev1.ProtocolTCP}}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	slices := client.DiscoveryV1().EndpointSlices(namespace)
	want := slice(n, endpoints, false)
	_, err = slices.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = slices.Update(ctx, want, metav1.UpdateOptions{})
	}
	return err
}

// slice is the only EndpointSlice of a Service, with or without the endpoint that a change adds.
func slice(n, endpoints int, added bool) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: serviceName(n), Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(n)}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: ptr.To[int32](targetPort),
			Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for e := range endpoints {
		s.Endpoints = append(s.Endpoints, endpoint(endpointAddr(n, e)))
	}
	if added {
		s.Endpoints = append(s.Endpoints, endpoint(addedAddr(n)))
	}
	return s
}

func endpoint(addr netip.Addr) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{addr.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)}}
}

// setAdded gives a Service the additional endpoint, or takes it away.
func setAdded(ctx context.Context, client kubernetes.Interface, n, endpoints int, added bool) error {
	_, err := client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, slice(n, endpoints, added), metav1.UpdateOptions{})
	return err
}

// clusterIPs reads the addresses of the Services, by their numbers.
func clusterIPs(ctx context.Context, client kubernetes.Interface, o options) ([]netip.Addr, error) {
	list, err := client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	byName := make(map[string]string, len(list.Items))
	for _, service := range list.Items {
		byName[service.Name] = service.Spec.ClusterIP
	}
	addrs := make([]netip.Addr, o.Services)
	for n := range addrs {
		if addrs[n], err = netip.ParseAddr(byName[serviceName(n)]); err != nil {
			return nil, fmt.Errorf("ClusterIP of %s: %w", serviceName(n), err)
		}
	}
	return addrs, nil
}
