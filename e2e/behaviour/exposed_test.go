package behaviour

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// NodePorts, external IPs and load-balancer IPs are reached from outside, from a pod and from the node, whether the
// endpoint is on this node or another. The endpoint sees an address of the node.
func TestB04_B05_B06_ExposedAddresses(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	services := map[string]*cluster.Service{"web": s.AddService(t, "near"), "far": s.AddService(t, "far")}
	services["web"].SetEndpoints(t, s.Endpoint(s.web))
	services["far"].SetEndpoints(t, s.Endpoint(s.far))
	ways := cluster.Ways(cluster.ExternalIP, cluster.LoadBalancerIP, cluster.NodePort)
	for name, service := range services {
		service.Expose(t)
		s.await(t, service, name, ways...)
	}
	s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
		for name, service := range services {
			answer := ask(t, from.from, service.Target(way))
			if answer.Backend != name {
				t.Errorf("%s answers, want %s", answer.Backend, name)
			}
			sees(t, answer, s.nodeAddresses(way.Family)...)
		}
	})
}

// One NodePort number serves several protocols, each its own target.
func TestB04_OneNodePortNumberForAllProtocols(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	targets := map[topology.Protocol]int32{topology.TCP: 9011, topology.UDP: 9012, topology.SCTP: 9013}
	var ports []corev1.ServicePort
	for protocol, target := range targets {
		backend.StartAll(t, s.web.Netns, uint16(target), protocol)
		ports = append(ports, portOf(strings.ToLower(string(protocol)), protocol, 80, target))
	}
	service := s.AddService(t, "ports", cluster.Type(corev1.ServiceTypeNodePort), func(c *corev1.Service) { c.Spec.Ports = ports })
	for _, port := range service.Spec.Ports {
		if port.NodePort != service.Spec.Ports[0].NodePort {
			t.Fatalf("the API server gave out different numbers: %+v", service.Spec.Ports)
		}
	}
	service.SetEndpoints(t, s.Endpoint(s.web))
	ways := cluster.Ways(cluster.NodePort)
	s.await(t, service, "web", ways...)
	s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
		if answer := ask(t, from.from, service.Target(way)); int32(answer.Server.Port()) != targets[way.Protocol] {
			t.Error(wrongServer(answer, targets[way.Protocol]))
		}
	})
}

// An external IP that this node has is served without being taken from its interface: the node stays on the network, and
// its own ports stay reachable.
func TestB05_P18_ExternalIPOfThisNode(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	service := s.AddService(t, "node-address", func(c *corev1.Service) { c.Spec.Ports = cluster.Ports(7780, topology.Protocols()...) })
	service.SetEndpoints(t, s.Endpoint(s.web))
	own := nodeAddressesOf(service, 1)
	for _, addr := range own {
		s.AddNodeAddress(t, s.Node, addr)
		s.Client.RouteVia(t, netip.PrefixFrom(addr, addr.BitLen()), s.Node)
	}
	service.Update(t, func(c *corev1.Service) { c.Spec.ExternalIPs = []string{own[0].String(), own[1].String()} })
	for _, addr := range own {
		for _, protocol := range topology.Protocols() {
			for _, from := range s.askers(cluster.ExternalIP) {
				cluster.AwaitAnswer(t, from.from, probe.To(protocol, addr, 7780), "web")
			}
		}
		backend.Start(t, s.Node.Netns, topology.TCP, netip.AddrPortFrom(addr, 22))
		ask(t, s.Client.Netns, probe.To(topology.TCP, addr, 22))
		s.stays(t, s.Client.Netns, addr)
	}
}

// An external IP that another node has is not bound here: that node stays reachable.
func TestB05_P18_ExternalIPOfAnotherNode(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	service := s.AddService(t, "node-address", func(c *corev1.Service) { c.Spec.Ports = cluster.Ports(7780, topology.Protocols()...) })
	service.SetEndpoints(t, s.Endpoint(s.web))
	other := nodeAddressesOf(service, 2)
	for _, addr := range other {
		s.AddNodeAddress(t, s.Node2, addr)
		s.Node.RouteVia(t, netip.PrefixFrom(addr, addr.BitLen()), s.Node2)
	}
	// The addresses of other nodes are listed when an external IP is first seen, which may have been another test's.
	s.daemon.Restart(t)
	service.Update(t, func(c *corev1.Service) { c.Spec.ExternalIPs = []string{other[0].String(), other[1].String()} })
	s.Settle(t)
	for _, addr := range other {
		backend.Start(t, s.Node2.Netns, topology.TCP, netip.AddrPortFrom(addr, 22))
		ask(t, s.Node.Netns, probe.To(topology.TCP, addr, 22))
		ask(t, s.client.Netns, probe.To(topology.TCP, addr, 22))
		s.stays(t, s.Node.Netns, addr)
	}
}

// stays checks that an address answers where it was and is not on kube-ipvs0.
func (s *scene) stays(t *testing.T, from *topology.Netns, addr netip.Addr) {
	t.Helper()
	if err := probe.Ping(t.Context(), from, addr, 8, probe.DefaultTimeout); err != nil {
		t.Errorf("the node at %s is off the network: %v", addr, err)
	}
	if text := cluster.Run(t, s.Node.Netns, "ip", "addr", "show", "dev", "kube-ipvs0"); strings.Contains(text, " "+addr.String()+"/") {
		t.Errorf("%s is a node's and bound to kube-ipvs0", addr)
	}
}

// nodeAddressesOf returns addresses outside of every other range that belong to no other Service.
func nodeAddressesOf(service *cluster.Service, n byte) []netip.Addr {
	four := service.Address(cluster.ClusterIP, topology.IPv4).As4()
	six := service.Address(cluster.ClusterIP, topology.IPv6).As16()
	four[0], four[1] = 172, 19+n
	six[1], six[3] = n, 0x99
	return []netip.Addr{netip.AddrFrom4(four), netip.AddrFrom16(six)}
}

// A load-balancer IP of mode Proxy is the load balancer's: packets to it leave the node.
func TestB06_LoadBalancerIPOfModeProxy(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	service := s.AddService(t, "proxied", cluster.Type(corev1.ServiceTypeLoadBalancer))
	service.SetEndpoints(t, s.Endpoint(s.web))
	s.building.Lock()
	balancer, mode := s.AddClient(t, "balancer"), corev1.LoadBalancerIPModeProxy
	s.building.Unlock()
	service.UpdateStatus(t, func(status *corev1.ServiceStatus) {
		for _, family := range topology.Families() {
			status.LoadBalancer.Ingress = append(status.LoadBalancer.Ingress,
				corev1.LoadBalancerIngress{IP: service.Address(cluster.LoadBalancerIP, family).String(), IPMode: &mode})
		}
	})
	for _, family := range topology.Families() {
		addr := service.Address(cluster.LoadBalancerIP, family)
		alone := netip.PrefixFrom(addr, addr.BitLen())
		balancer.AddAddress(t, alone)
		s.Node.RouteVia(t, alone, balancer)
		for _, protocol := range topology.Protocols() {
			backend.Start(t, balancer.Netns, protocol, netip.AddrPortFrom(addr, cluster.ServicePort))
		}
		balancer.RouteVia(t, s.Node.PodSubnet(family), s.Node)
	}
	s.Settle(t)
	for _, q := range s.questions(cluster.Ways(cluster.LoadBalancerIP), "pod", "node") {
		if answer := ask(t, q.from.from, service.Target(q.way)); answer.Backend != balancer.Name {
			t.Errorf("%s: %s answers, want the load balancer itself", q, answer.Backend)
		}
	}
	for _, family := range topology.Families() {
		if table := s.IPVS(t, service.Address(cluster.LoadBalancerIP, family)); table != "" {
			t.Errorf("the load balancer's own address is in the table:\n%s", table)
		}
	}
}

// A ClusterIP port whose number is also somebody's NodePort is no NodePort: pods keep their address.
func TestP17_ClusterIPPortEqualToANodePort(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	exposed := s.AddService(t, "exposed", cluster.Type(corev1.ServiceTypeNodePort))
	exposed.SetEndpoints(t, s.Endpoint(s.web))
	number := uint16(exposed.Spec.Ports[0].NodePort)
	service := s.AddService(t, "inside", func(c *corev1.Service) { c.Spec.Ports = cluster.Ports(number, topology.Protocols()...) })
	service.SetEndpoints(t, s.Endpoint(s.web))
	ways := cluster.Ways(cluster.ClusterIP)
	s.await(t, exposed, "web", cluster.Ways(cluster.NodePort)...)
	s.await(t, service, "web", ways...)
	for _, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			sees(t, ask(t, s.client.Netns, service.Target(way)), s.client.Address(way.Family))
		})
	}
}
