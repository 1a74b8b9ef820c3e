package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

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

// populate makes the API server have the Services and slices, and the slices their first endpoints only.
func populate(ctx context.Context, client kubernetes.Interface, o options) error {
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := createNode(ctx, client); err != nil {
		return err
	}
	if err := removeSurplus(ctx, client, o.Services); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for n := range o.Services {
		group.Go(func() error { return populateService(ctx, client, n, o.Endpoints) })
	}
	return group.Wait()
}

// createNode makes the node that the contestants run on. Kube-proxy waits for one that has an address.
func createNode(ctx context.Context, client kubernetes.Interface) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}}}
	if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// removeSurplus deletes what an earlier, larger case has left.
func removeSurplus(ctx context.Context, client kubernetes.Interface, services int) error {
	list, err := client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, service := range list.Items {
		if service.Name >= serviceName(services) {
			group.Go(func() error {
				return errors.Join(client.CoreV1().Services(namespace).Delete(ctx, service.Name, metav1.DeleteOptions{}),
					client.DiscoveryV1().EndpointSlices(namespace).Delete(ctx, service.Name, metav1.DeleteOptions{}))
			})
		}
	}
	return group.Wait()
}

// targetName is the Service that packets go to. It comes after those that have numbers, so that it is surplus to any number.
const targetName = "target"

// createTarget makes a Service for TCP and UDP with the backend as its only endpoint.
func createTarget(ctx context.Context, client kubernetes.Interface) error {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: targetName}}
	s := slice(0, 0)
	s.Name, s.Labels, s.Ports = targetName, map[string]string{discoveryv1.LabelServiceName: targetName}, nil
	s.Endpoints = []discoveryv1.Endpoint{endpoint(backendAddr())}
	for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		name := strings.ToLower(string(protocol))
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: name, Protocol: protocol, Port: servicePort,
			TargetPort: intstr.FromInt32(targetPort)})
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: ptr.To[int32](targetPort)})
	}
	if _, err := client.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := client.DiscoveryV1().EndpointSlices(namespace).Create(ctx, s, metav1.CreateOptions{})
	return err
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
	want := slice(n, endpoints)
	_, err = slices.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = slices.Update(ctx, want, metav1.UpdateOptions{})
	}
	return err
}

// slice is the only EndpointSlice of a Service.
func slice(n, endpoints int) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: serviceName(n), Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(n)}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: ptr.To[int32](targetPort),
			Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for e := range endpoints {
		s.Endpoints = append(s.Endpoints, endpoint(endpointAddr(n, e)))
	}
	return s
}

func endpoint(addr netip.Addr) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{addr.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)}}
}

// setEndpoints gives a Service its first so many endpoints, and no others.
func setEndpoints(ctx context.Context, client kubernetes.Interface, n, endpoints int) error {
	_, err := client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, slice(n, endpoints), metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("change the endpoints of %s: %w", serviceName(n), err)
	}
	return nil
}

// targetsOf reads the Services, by their numbers.
func targetsOf(ctx context.Context, client kubernetes.Interface, o options) ([]target, error) {
	list, err := client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	byName := make(map[string]string, len(list.Items))
	for _, service := range list.Items {
		byName[service.Name] = service.Spec.ClusterIP
	}
	targets := make([]target, o.Services)
	for n := range targets {
		name := serviceName(n)
		addr, err := netip.ParseAddr(byName[name])
		if err != nil {
			return nil, fmt.Errorf("ClusterIP of %s: %w", name, err)
		}
		targets[n] = target{name, addr}
	}
	return targets, nil
}
