package differential

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// aService is a dual-stack Service of type ClusterIP with TCP port 80, unless changes make it another one.
func aService(number int, changes ...func(*corev1.Service)) Op {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: serviceName(number)}}
	s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = families(), ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	for _, family := range families() {
		s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, clusterIP(number, family))
	}
	s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	s.Spec.Ports = []corev1.ServicePort{{Name: portName(0), Protocol: corev1.ProtocolTCP, Port: 80}}
	for _, change := range changes {
		change(s)
	}
	return Op{Service: s}
}

// single makes a Service one of IPv4 only.
func single(s *corev1.Service) {
	s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = families()[:1], ptr.To(corev1.IPFamilyPolicySingleStack)
	s.Spec.ClusterIPs = s.Spec.ClusterIPs[:1]
}

// allProtocols gives a Service the same port on all protocols.
func allProtocols(s *corev1.Service) {
	port := s.Spec.Ports[0].Port
	s.Spec.Ports = nil
	for i, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: portName(i), Protocol: protocol, Port: port})
	}
}

// ofType makes a Service one of type NodePort or LoadBalancer, with its node ports and load-balancer IPs.
func ofType(number int, kind corev1.ServiceType) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Type = kind
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = nodePort(number, i)
		}
		if kind != corev1.ServiceTypeLoadBalancer {
			return
		}
		for _, family := range s.Spec.IPFamilies {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: loadBalancerIP(number, family)})
		}
	}
}

// exposed makes a Service one of type LoadBalancer that has external IPs, too.
func exposed(number int) func(*corev1.Service) {
	return func(s *corev1.Service) {
		ofType(number, corev1.ServiceTypeLoadBalancer)(s)
		for _, family := range s.Spec.IPFamilies {
			s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, externalIP(number, family))
		}
	}
}

// externalLocal sets externalTrafficPolicy Local.
func externalLocal(number int) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			s.Spec.HealthCheckNodePort = healthCheckNodePort(number)
		}
	}
}

// internalLocal sets internalTrafficPolicy Local.
func internalLocal(s *corev1.Service) {
	s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
}

// sticky sets ClientIP affinity.
func sticky(seconds int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
}

// aSlice is a slice of a Service that serves its ports, on numbers from 8080.
func aSlice(number, slice int, family corev1.IPFamily, endpoints ...discoveryv1.Endpoint) Op {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("%s-%d-%s", serviceName(number), slice, map[corev1.IPFamily]string{corev1.IPv4Protocol: "v4", corev1.IPv6Protocol: "v6"}[family]),
			Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(number)},
		},
		AddressType: discoveryv1.AddressType(family),
		Endpoints:   endpoints,
	}
	for i, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: ptr.To(portName(i)), Protocol: &protocol, Port: ptr.To(int32(8080 + i))})
	}
	return Op{Slice: s}
}

// state is how an endpoint is.
type state func(*discoveryv1.Endpoint)

func conditions(ready, serving, terminating bool) state {
	return func(e *discoveryv1.Endpoint) {
		e.Conditions = discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
	}
}

// forZone gives an endpoint a hint.
func forZone(zone string) state {
	return func(e *discoveryv1.Endpoint) {
		e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}}
	}
}

// forNode gives an endpoint a hint.
func forNode(node string) state {
	return func(e *discoveryv1.Endpoint) {
		e.Hints = &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: node}}}
	}
}

// aPod is an endpoint on node 1 or 2, ready unless made otherwise.
func aPod(node, pod int, family corev1.IPFamily, states ...state) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{podIP(node, pod, family)}, NodeName: ptr.To(fmt.Sprintf("node-%d", node))}
	for _, set := range append([]state{conditions(true, true, false)}, states...) {
		set(&e)
	}
	return e
}

// where says on which nodes a Service has endpoints.
type where []int

// served are slices of both families with an endpoint on each of the nodes, all in the same state.
func served(number int, nodes where, states ...state) []Op {
	var ops []Op
	for _, family := range families() {
		var endpoints []discoveryv1.Endpoint
		for i, node := range nodes {
			endpoints = append(endpoints, aPod(node, i, family, states...))
		}
		ops = append(ops, aSlice(number, 0, family, endpoints...))
	}
	return ops
}
