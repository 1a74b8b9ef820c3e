package behaviour

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// Masquerading chooses any port of the node, a NodePort as well. The answers are taken for those of the masqueraded
// connection nevertheless: they get their address back before IPVS looks for the NodePort.
func TestMasqueradedPortThatIsANodePort(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	ported := s.AddService(t, "ported", cluster.Type(corev1.ServiceTypeNodePort), func(c *corev1.Service) {
		for i, number := range []uint16{80, 81} {
			for _, port := range cluster.Ports(number, topology.Protocols()...) {
				port.Name = fmt.Sprintf("%s-%d", port.Name, i)
				c.Spec.Ports = append(c.Spec.Ports, port)
			}
		}
		c.Spec.Ports = c.Spec.Ports[len(topology.Protocols()):]
	})
	ported.SetEndpoints(t, s.Endpoint(s.web))
	service := s.AddService(t, "masqueraded")
	service.Expose(t)
	pod := s.addServer(t, s.Node2, "masqueraded")
	service.SetEndpoints(t, s.Endpoint(pod))
	s.await(t, ported, "web", cluster.Ways(cluster.NodePort)...)
	s.await(t, service, pod.Name, cluster.Ways(cluster.ClusterIP, cluster.ExternalIP)...)
	for i, c := range []struct {
		kind cluster.Kind
		from asker
	}{{cluster.ClusterIP, asker{"node", s.Node.Netns}}, {cluster.ExternalIP, asker{"outside", s.Client.Netns}}} {
		for _, way := range cluster.Ways(c.kind) {
			t.Run(way.String()+"/from-"+c.from.name, func(t *testing.T) {
				node := netip.AddrPortFrom(s.Node.Address(way.Family), nodePortOf(ported, way.Protocol, i))
				s.masqueradeAs(t, way, endpointOf(pod, way.Family), node)
				session, err := probe.Open(t.Context(), c.from.from, service.Target(way))
				if err != nil {
					t.Fatal(err)
				}
				defer session.Close()
				for range 3 {
					answer, err := session.Ask(t.Context())
					if err != nil || answer.Backend != pod.Name || answer.Client != node {
						t.Fatalf("%+v, %v; want %s to answer and to see %s", answer, err, pod.Name, node)
					}
				}
			})
		}
	}
}

// nodePortOf is the NodePort of the i-th port of a protocol.
func nodePortOf(service *cluster.Service, protocol topology.Protocol, i int) uint16 {
	for _, port := range service.Spec.Ports {
		if port.Protocol == corev1.Protocol(protocol) {
			if i == 0 {
				return uint16(port.NodePort)
			}
			i--
		}
	}
	return 0
}

// masqueradeAs has what is to be masqueraded on its way to an endpoint get an address and port of the test's choosing,
// as chance might have it, until the test ends.
func (s *scene) masqueradeAs(t *testing.T, way cluster.Way, endpoint string, as netip.AddrPort) {
	t.Helper()
	to := netip.MustParseAddrPort(endpoint)
	program := map[topology.Family]string{topology.IPv4: "iptables", topology.IPv6: "ip6tables"}[way.Family]
	rule := []string{"POSTROUTING", "-p", strings.ToLower(string(way.Protocol)), "-d", to.Addr().String(), "--dport", fmt.Sprint(to.Port()),
		"-m", "mark", "--mark", "0x4000/0x4000", "-j", "SNAT", "--to-source", as.String()}
	run := func(change string) error {
		// The test's own context may have ended.
		return s.Node.Command(context.WithoutCancel(t.Context()), program, append([]string{"-w", "-t", "nat", change}, rule...)...).Run()
	}
	if err := run("-I"); err != nil {
		t.Fatalf("%s -I %s: %v", program, strings.Join(rule, " "), err)
	}
	t.Cleanup(func() {
		if err := run("-D"); err != nil {
			t.Errorf("%s -D %s: %v", program, strings.Join(rule, " "), err)
		}
	})
}

// A limit of the kernel, asserted as it is so that a kernel without it is noticed: IPVS takes what comes for a NodePort to be
// for the NodePort, although it answers the node's own connection from that port. (SCTP's answers do not look like the
// beginning of anything.) Linux gives out ports from 32768 on, and NodePorts end before that, unless somebody changes one of
// the ranges.
func TestOwnPortThatIsANodePort(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	ported := s.AddService(t, "ported", cluster.Type(corev1.ServiceTypeNodePort))
	ported.SetEndpoints(t, s.Endpoint(s.web))
	pod := s.addServer(t, s.Node2, "straight")
	s.await(t, ported, "web", cluster.Ways(cluster.NodePort)...)
	for _, way := range cluster.Ways(cluster.NodePort) {
		target := probe.To(way.Protocol, pod.Address(way.Family), cluster.TargetPort)
		ask(t, s.Node.Netns, target) // from one of the ports that the kernel gives out
		target.LocalPort = nodePortOf(ported, way.Protocol, 0)
		if way.Protocol == topology.SCTP {
			ask(t, s.Node.Netns, target)
			continue
		}
		target.Timeout = lost
		if answer, err := probe.Ask(t.Context(), s.Node.Netns, target); !errors.Is(err, probe.ErrTimeout) {
			t.Errorf("%s, straight from port %d: %+v, %v; this kernel no longer takes the answer for the NodePort's", way, target.LocalPort, answer, err)
		}
	}
}
