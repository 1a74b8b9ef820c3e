package behaviour

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// A ClusterIP is reached from pods and from the node, whether the endpoint is on this node or another, and from the
// endpoint itself. Pods are seen with their own address; the node and hairpin traffic with an address of the node (P19).
func TestB01_B03_ClusterIP(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	near, far := s.AddService(t, "near"), s.AddService(t, "far")
	near.SetEndpoints(t, s.Endpoint(s.web))
	far.SetEndpoints(t, s.Endpoint(s.far))
	ways := cluster.Ways(cluster.ClusterIP)
	s.await(t, near, "web", ways...)
	s.await(t, far, "far", ways...)
	s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
		source := s.nodeAddresses(way.Family)
		if from.name == "pod" {
			source = []netip.Addr{s.client.Address(way.Family)}
		}
		for name, service := range map[string]*cluster.Service{"web": near, "far": far} {
			answer := ask(t, from.from, service.Target(way))
			if answer.Backend != name {
				t.Errorf("%s answers, want %s", answer.Backend, name)
			}
			sees(t, answer, source...)
		}
	})
	for _, way := range ways {
		t.Run("hairpin/"+way.String(), func(t *testing.T) {
			sees(t, ask(t, s.web.Netns, near.Target(way)), s.nodeAddresses(way.Family)...)
		})
	}
}

// Endpoints may be in the host network, of this node too; requests and answers may be large.
func TestB11_HostNetworkAndLargeRequests(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	backend.StartAll(t, s.Node.Netns, cluster.TargetPort, topology.Protocols()...)
	service := s.AddService(t, "host")
	service.SetEndpoints(t, s.HostEndpoint(s.Node))
	pods := s.AddService(t, "pods")
	pods.SetEndpoints(t, s.Endpoint(s.far))
	ways := cluster.Ways(cluster.ClusterIP)
	s.await(t, service, s.Node.Name, ways...)
	s.await(t, pods, "far", ways...)
	s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
		if answer := ask(t, from.from, service.Target(way)); answer.Backend != s.Node.Name {
			t.Errorf("%s answers, want the node", answer.Backend)
		}
		// More than fits into a packet. What is left to the kernel's own ways with fragments: datagrams, and SCTP from the
		// node, whose packets are as large as the loopback's MTU.
		target := pods.Target(way)
		if way.Protocol == topology.TCP || way.Protocol == topology.SCTP && from.name == "pod" {
			target.Request = backend.Request{Padding: 64 << 10, ReplyPadding: 64 << 10}
		}
		if answer := ask(t, from.from, target); answer.Received != target.Request.Padding {
			t.Errorf("%d bytes reached %s, want %d", answer.Received, answer.Backend, target.Request.Padding)
		}
	})
}

// portOf is a port of a Service that leads to a port of the pods.
func portOf(name string, protocol topology.Protocol, number, target int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Protocol: corev1.Protocol(protocol), Port: number, TargetPort: intstr.FromInt32(target)}
}

// Ports of one Service are apart from each other, also those of one number, and come and go on a live Service. What
// was removed is refused while the address stays (P24, and P16 for what is no port of the Service).
func TestB02_P24_Ports(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	const tcp, udp, sctp = topology.TCP, topology.UDP, topology.SCTP
	for _, number := range []uint16{9001, 9002, 9003} {
		backend.StartAll(t, s.web.Netns, number, topology.Protocols()...)
	}
	first := []corev1.ServicePort{portOf("a", tcp, 80, 9001), portOf("b", tcp, 81, 9002), portOf("c", udp, 80, 9003), portOf("d", sctp, 80, 9002)}
	service := s.AddService(t, "ports", func(c *corev1.Service) { c.Spec.Ports = first })
	service.SetEndpoints(t, s.Endpoint(s.web))
	s.checkPorts(t, service, first)

	second := []corev1.ServicePort{portOf("b", tcp, 81, 9002), portOf("e", udp, 82, 9001), portOf("d", sctp, 83, 9003)}
	service.Update(t, func(c *corev1.Service) { c.Spec.Ports = second })
	service.SetEndpoints(t, s.Endpoint(s.web))
	s.checkPorts(t, service, second)
	s.Settle(t) // what is new comes before what is old goes
	for _, family := range topology.Families() {
		for _, gone := range []corev1.ServicePort{first[0], first[2], first[3]} {
			target := probe.To(topology.Protocol(gone.Protocol), service.Address(cluster.ClusterIP, family), uint16(gone.Port))
			for _, from := range s.askers(cluster.ClusterIP) {
				if target.Protocol == sctp && family == topology.IPv6 {
					unanswered(t, from.from, target)
				} else {
					refused(t, from.from, target)
				}
			}
		}
	}
}

// checkPorts waits until every port leads to its target, from a pod and from the node.
func (s *scene) checkPorts(t *testing.T, service *cluster.Service, ports []corev1.ServicePort) {
	t.Helper()
	for _, port := range ports {
		for _, family := range topology.Families() {
			target := probe.To(topology.Protocol(port.Protocol), service.Address(cluster.ClusterIP, family), uint16(port.Port))
			for _, from := range s.askers(cluster.ClusterIP) {
				cluster.Await(t, target.String()+" from the "+from.name, func() error {
					answer, err := probe.Ask(t.Context(), from.from, target)
					if err == nil && int32(answer.Server.Port()) != port.TargetPort.IntVal {
						err = wrongServer(answer, port.TargetPort.IntVal)
					}
					return err
				})
			}
		}
	}
}
