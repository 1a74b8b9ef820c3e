package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"

	"kube-ipvs-proxy/e2e/topology"
)

// Endpoint is a pod behind a Service, ready unless Unready or Terminating made another of it.
type Endpoint struct {
	addresses  map[topology.Family]string
	node       *string
	conditions discoveryv1.EndpointConditions
	hints      *discoveryv1.EndpointHints
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

// Ended is the endpoint after its pod shut down and before it vanishes.
func (e Endpoint) Ended() Endpoint {
	e.conditions = conditions(false, false, true)
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

// ForZones is the endpoint with hints that it is meant for zones (see Cluster.Zone), instead of those of an earlier call.
func (e Endpoint) ForZones(names ...string) Endpoint {
	e.hints = e.copyHints()
	e.hints.ForZones = nil
	for _, name := range names {
		e.hints.ForZones = append(e.hints.ForZones, discoveryv1.ForZone{Name: name})
	}
	return e
}

// ForNodes is the endpoint with hints that it is meant for the nodes, instead of those of an earlier call.
func (e Endpoint) ForNodes(names ...string) Endpoint {
	e.hints = e.copyHints()
	e.hints.ForNodes = nil
	for _, name := range names {
		e.hints.ForNodes = append(e.hints.ForNodes, discoveryv1.ForNode{Name: name})
	}
	return e
}

func (e Endpoint) copyHints() *discoveryv1.EndpointHints {
	if e.hints == nil {
		return &discoveryv1.EndpointHints{}
	}
	return e.hints.DeepCopy()
}

// Part is one of several EndpointSlices of a Service; there is one for each of its families.
type Part struct {
	// Name tells the parts of a Service apart. That of SetEndpoints is empty.
	Name string
	// TargetPort is the number that the Service's ports have at these endpoints; 0 leaves them to the Service.
	TargetPort int32
	// Lacks are the protocols for which these endpoints have no port.
	Lacks     []topology.Protocol
	Endpoints []Endpoint
}

// SetEndpoints makes the endpoints the Service's only ones but for those of SetPart.
func (s *Service) SetEndpoints(t testing.TB, endpoints ...Endpoint) {
	t.Helper()
	s.SetPart(t, Part{Endpoints: endpoints})
}

// SetPart writes a part of the Service's endpoints in place of the part that had its name.
func (s *Service) SetPart(t testing.TB, part Part) {
	t.Helper()
	for _, family := range families(s.Service) {
		slice := s.slice(family, part)
		if !slices.Contains(s.slices, slice.Name) {
			s.slices = append(s.slices, slice.Name)
			s.cluster.CreateSlice(t, slice)
			continue
		}
		client := s.cluster.env.client.DiscoveryV1().EndpointSlices(s.Namespace)
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			_, err := client.Update(t.Context(), slice, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			t.Fatalf("update EndpointSlice %s: %v", slice.Name, err)
		}
	}
}

// DeletePart deletes the slices of the part with the name.
func (s *Service) DeletePart(t testing.TB, name string) {
	t.Helper()
	for _, family := range families(s.Service) {
		slice := s.sliceName(family, name)
		client := s.cluster.env.client.DiscoveryV1().EndpointSlices(s.Namespace)
		if err := client.Delete(t.Context(), slice, metav1.DeleteOptions{}); err != nil {
			t.Fatalf("delete EndpointSlice %s: %v", slice, err)
		}
		s.slices = slices.DeleteFunc(s.slices, func(known string) bool { return known == slice })
	}
}

// sliceName is the name of a part's slice.
func (s *Service) sliceName(family topology.Family, part string) string {
	name := fmt.Sprintf("%s-%s", s.Name, strings.Replace(string(family), "IP", "", 1))
	if part != "" {
		name += "-" + part
	}
	return name
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

// slice writes a part as the EndpointSlice controller does: the ports are the Service's target ports.
func (s *Service) slice(family topology.Family, part Part) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.sliceName(family, part.Name), Namespace: s.Namespace,
			Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
		},
		AddressType: discoveryv1.AddressType(family),
	}
	for _, port := range s.Spec.Ports {
		if slices.Contains(part.Lacks, topology.Protocol(port.Protocol)) {
			continue
		}
		if part.TargetPort != 0 {
			port.TargetPort = intstr.FromInt32(part.TargetPort)
		}
		slice.Ports = append(slice.Ports, slicePort(port))
	}
	for _, e := range part.Endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{e.addresses[family]}, Conditions: e.conditions, NodeName: e.node, Hints: e.hints,
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
