package differential

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// serviceKind is what cannot be changed about a Service without deleting it.
type serviceKind struct {
	headless bool
	families []corev1.IPFamily // in the Service's order; the second may come and go
	ports    []servicePort     // a change picks among these
	shares   bool              // its ports are its own, so that it can share addresses
	// published says publishNotReadyAddresses. Its endpoints are ready then, as the EndpointSlice controller has them.
	published bool
}

type servicePort struct {
	protocol corev1.Protocol
	number   int32
}

func (g *generator) kind(number int) serviceKind {
	k := serviceKind{headless: g.chance(5), shares: g.chance(40), published: g.chance(10), families: families()}
	if g.chance(25) {
		k.families[0], k.families[1] = k.families[1], k.families[0]
	}
	for i := range 1 + g.IntN(3) {
		p := servicePort{pick(g, corev1.ProtocolTCP, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP), int32(80 + i)}
		if k.shares {
			p.number = ownPort(number, i)
		}
		k.ports = append(k.ports, p)
	}
	if g.chance(20) { // as DNS has it
		k.ports = []servicePort{{corev1.ProtocolUDP, k.ports[0].number}, {corev1.ProtocolTCP, k.ports[0].number}}
	}
	return k
}

// service makes a Service of its kind; called again, it makes another one that the first can be changed into.
func (g *generator) service(s *service) *corev1.Service {
	out := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: serviceName(s.number)}}
	out.Spec.Type = pick(g, corev1.ServiceTypeClusterIP, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeNodePort,
		corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeLoadBalancer)
	g.ports(s, out)
	switch {
	case s.kind.headless:
		out.Spec.Type, out.Spec.ClusterIP = corev1.ServiceTypeClusterIP, corev1.ClusterIPNone
		return out
	case g.chance(7):
		out.Spec.Type, out.Spec.ExternalName = corev1.ServiceTypeExternalName, "elsewhere.example"
		return out
	}
	if g.chance(5) {
		out.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "another"}
	}
	g.families(s, out)
	if g.chance(30) {
		out.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		out.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To(pick[int32](g, 1, 60, 10800, 86400))}}
	}
	out.Spec.PublishNotReadyAddresses = s.kind.published
	if g.chance(25) {
		out.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
	}
	g.expose(s, out)
	return out
}

func (g *generator) ports(s *service, out *corev1.Service) {
	kept := s.kind.ports[:1+g.IntN(len(s.kind.ports))]
	for i, p := range kept {
		port := corev1.ServicePort{Name: portName(i), Protocol: p.protocol, Port: p.number, TargetPort: intstr.FromString(portName(i))}
		if len(kept) == 1 && s.number%3 == 0 {
			port.Name = ""
		}
		out.Spec.Ports = append(out.Spec.Ports, port)
	}
}

func portName(i int) string { return fmt.Sprintf("p%d", i) }

func (g *generator) families(s *service, out *corev1.Service) {
	out.Spec.IPFamilies = s.kind.families
	out.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	if g.chance(40) {
		out.Spec.IPFamilies, out.Spec.IPFamilyPolicy = s.kind.families[:1], ptr.To(corev1.IPFamilyPolicySingleStack)
	}
	for _, family := range out.Spec.IPFamilies {
		out.Spec.ClusterIPs = append(out.Spec.ClusterIPs, clusterIP(s.number, family))
	}
	out.Spec.ClusterIP = out.Spec.ClusterIPs[0]
}

// expose adds what leads to the Service from outside.
func (g *generator) expose(s *service, out *corev1.Service) {
	if g.chance(30) {
		out.Spec.ExternalIPs = g.externalIPs(s)
	}
	balanced := out.Spec.Type == corev1.ServiceTypeLoadBalancer
	if balanced {
		g.balance(s, out)
	}
	if balanced || out.Spec.Type == corev1.ServiceTypeNodePort || len(out.Spec.ExternalIPs) > 0 {
		if g.chance(40) {
			out.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		}
	}
	if balanced && out.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		out.Spec.HealthCheckNodePort = healthCheckNodePort(s.number)
	}
	if out.Spec.Type == corev1.ServiceTypeNodePort || balanced && out.Spec.AllocateLoadBalancerNodePorts == nil {
		one := s.number%2 == 0 && oneNumber(out.Spec.Ports)
		for i := range out.Spec.Ports {
			out.Spec.Ports[i].NodePort = nodePort(s.number, i)
			if one {
				out.Spec.Ports[i].NodePort = nodePort(s.number, 0)
			}
		}
	}
}

// oneNumber reports whether all ports may have the same node port: the API server takes that for one port number on several
// protocols only.
func oneNumber(ports []corev1.ServicePort) bool {
	for i, port := range ports {
		if port.Port != ports[0].Port || i > 0 && port.Protocol == ports[0].Protocol {
			return false
		}
	}
	return true
}

// externalIPs are of its own, or of a node, or shared; also of a family in which the Service may not be.
func (g *generator) externalIPs(s *service) []string {
	var out []string
	for _, family := range families() {
		switch n := g.IntN(100); {
		case n < 25:
		case n < 60 || !s.kind.shares:
			out = append(out, externalIP(s.number, family))
		case n < 75:
			out = append(out, sharedIP(family))
		default:
			out = append(out, nodeIP(1+g.IntN(2), family))
		}
	}
	return out
}

func (g *generator) balance(s *service, out *corev1.Service) {
	for _, family := range families() {
		if g.chance(25) {
			continue
		}
		ingress := corev1.LoadBalancerIngress{IP: loadBalancerIP(s.number, family)}
		switch n := g.IntN(100); {
		case n < 15 && s.kind.shares:
			ingress.IP = sharedIP(family)
		case n < 20:
			ingress.IP = externalIP(s.number, family) // perhaps also one of the Service's externalIPs
		}
		if g.chance(15) {
			ingress.IPMode = ptr.To(corev1.LoadBalancerIPModeProxy)
		}
		out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress, ingress)
	}
	if g.chance(10) {
		out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{Hostname: "lb.example"})
	}
	if g.chance(15) {
		out.Spec.AllocateLoadBalancerNodePorts = ptr.To(false)
	}
	if g.chance(40) {
		ranges := []string{"192.0.2.0/24", "198.51.100.7/32", "172.18.0.0/24", "0.0.0.0/0", "2001:db8::/32", "fd00:172:18::/64", "2001:db8:9::9/128", "::/0"}
		for _, i := range g.Perm(len(ranges))[:1+g.IntN(4)] {
			out.Spec.LoadBalancerSourceRanges = append(out.Spec.LoadBalancerSourceRanges, ranges[i])
		}
	}
}
