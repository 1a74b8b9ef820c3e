package cluster

import (
	"context"
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"kube-ipvs-proxy/e2e/topology"
)

// Endpoint is a pod behind a Service, ready unless Unready or Terminating made another of it.
type Endpoint struct {
	addresses  map[topology.Family]string
	node       *string
	conditions discoveryv1.EndpointConditions
}

// Endpoint returns a pod as a ready endpoint.
func (c *Cluster) Endpoint(pod *topology.Pod) Endpoint { return c.endpoint(pod.Netns, pod.Host) }

// HostEndpoint returns a pod in the host network of a node as a ready endpoint.
func (c *Cluster) HostEndpoint(host *topology.Host) Endpoint { return c.endpoint(host.Netns, host) }

func (c *Cluster) endpoint(at *topology.Netns, on *topology.Host) Endpoint {
	node := c.NodeName(on)
	e := Endpoint{addresses: map[topology.Family]string{}, node: &node, conditions: conditions(true, true, false)}
	for _, family := range topology.Families() {
		e.addresses[family] = at.Address(family).String()
	}
	return e
}

// Terminating is the endpoint while its pod shuts down and still answers.
func (e Endpoint) Terminating() Endpoint {
	e.conditions = conditions(false, true, true)
	return e
}

// Unready is the endpoint while its pod is not ready.
func (e Endpoint) Unready() Endpoint {
	e.conditions = conditions(false, false, false)
	return e
}

// Published is the endpoint while its pod is not ready and the Service has publishNotReadyAddresses.
func (e Endpoint) Published() Endpoint {
	e.conditions = conditions(true, false, false)
	return e
}

func conditions(ready, serving, terminating bool) discoveryv1.EndpointConditions {
	return discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
}

// SetEndpoints makes the endpoints the Service's only ones, in one EndpointSlice for each of its families.
func (s *Service) SetEndpoints(t testing.TB, endpoints ...Endpoint) {
	t.Helper()
	for _, family := range families(s.Service) {
		slice := s.slice(family, endpoints)
		if s.slices[family] == "" {
			s.slices[family] = slice.Name
			s.cluster.CreateSlice(t, slice)
			continue
		}
		slices := s.cluster.env.client.DiscoveryV1().EndpointSlices(s.Namespace)
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			_, err := slices.Update(t.Context(), slice, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			t.Fatalf("update EndpointSlice %s: %v", slice.Name, err)
		}
	}
}

// CreateSlice sends an EndpointSlice to the API server, into the test's namespace.
func (c *Cluster) CreateSlice(t testing.TB, slice *discoveryv1.EndpointSlice) {
	t.Helper()
	slice.Namespace = c.Namespace
	slices := c.env.client.DiscoveryV1().EndpointSlices(c.Namespace)
	if _, err := slices.Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create EndpointSlice %s: %v", slice.Name, err)
	}
	c.cleanup(t, "EndpointSlice "+slice.Name, func(ctx context.Context) error {
		err := slices.Delete(ctx, slice.Name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

// slice writes endpoints as the EndpointSlice controller does: the ports are the Service's target ports.
func (s *Service) slice(family topology.Family, endpoints []Endpoint) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Name + "-" + map[topology.Family]string{topology.IPv4: "v4", topology.IPv6: "v6"}[family], Namespace: s.Namespace,
			Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
		},
		AddressType: discoveryv1.AddressType(family),
	}
	for _, port := range s.Spec.Ports {
		slice.Ports = append(slice.Ports, slicePort(port))
	}
	for _, e := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{e.addresses[family]}, Conditions: e.conditions, NodeName: e.node,
		})
	}
	return slice
}

func slicePort(port corev1.ServicePort) discoveryv1.EndpointPort {
	number := port.TargetPort.IntVal
	if number == 0 {
		number = port.Port
	}
	return discoveryv1.EndpointPort{Name: &port.Name, Protocol: &port.Protocol, Port: &number}
}

// LabelSlices gives the Service's EndpointSlices further labels, instead of those of an earlier call.
func (s *Service) LabelSlices(t testing.TB, labels map[string]string) {
	t.Helper()
	for _, name := range s.slices {
		slices := s.cluster.env.client.DiscoveryV1().EndpointSlices(s.Namespace)
		slice, err := slices.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		slice.Labels = map[string]string{discoveryv1.LabelServiceName: s.Name}
		maps.Copy(slice.Labels, labels)
		if _, err := slices.Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
			t.Fatalf("label EndpointSlice %s: %v", name, err)
		}
	}
}
