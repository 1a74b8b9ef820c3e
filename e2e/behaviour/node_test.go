package behaviour

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// NodePorts are served at the addresses that nodePortAddresses selects, and refused at the node's others. A family that
// the setting says nothing about is not limited, and localhost selects nothing, both as in kube-proxy's ipvs mode. An
// address that comes or goes while the daemon runs is followed.
func TestB44_NodePortAddresses(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	service := s.AddService(t, "ported", cluster.Type(corev1.ServiceTypeNodePort))
	service.SetEndpoints(t, s.Endpoint(s.web))
	second := nodeAddressesOf(service, 3)
	for _, addr := range second {
		s.Node.AddAddress(t, alone(addr))
		s.Client.RouteVia(t, alone(addr), s.Node)
	}
	first := []netip.Addr{s.Node.IPv4, s.Node.IPv6}
	all := slices.Concat(first, second, []netip.Addr{s.nodeAddresses(topology.IPv4)[1], s.nodeAddresses(topology.IPv6)[1]})
	four := netip.PrefixFrom(second[0], 24).Masked().String()
	six := netip.PrefixFrom(second[1], 64).Masked().String()
	for _, c := range []struct {
		setting string
		want    []netip.Addr
	}{
		{"primary", first},
		{"primary," + four, []netip.Addr{first[0], second[0], first[1]}},
		{four, []netip.Addr{second[0], all[1], all[3], all[5]}},
		{"localhost", nil},
		{"all", all},
		{four + "," + six, second},
	} {
		t.Run(strings.ReplaceAll(c.setting, "/", "|"), func(t *testing.T) {
			s.daemon.Restart(t, "--nodeport-addresses="+c.setting)
			s.awaitNodePorts(t, service, c.want)
			s.servedAt(t, service, c.want, slices.Concat(first, second))
		})
	}
	for _, addr := range second {
		cluster.Run(t, s.Node.Netns, "ip", "addr", "del", alone(addr).String(), "dev", topology.UplinkName)
	}
	s.awaitNodePorts(t, service, nil)
	for _, addr := range second {
		s.Node.AddAddress(t, alone(addr))
	}
	s.awaitNodePorts(t, service, second)
	s.servedAt(t, service, second, second)
}

// alone is the prefix that holds nothing but an address.
func alone(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// awaitNodePorts waits until the Service's NodePorts have virtual servers of every protocol at these addresses only.
func (s *scene) awaitNodePorts(t *testing.T, service *cluster.Service, addrs []netip.Addr) {
	t.Helper()
	var want []string
	for _, port := range service.Spec.Ports {
		for _, addr := range addrs {
			at := netip.AddrPortFrom(addr, uint16(port.NodePort))
			want = append(want, fmt.Sprintf("-A %s %s -s rr\n", flagOf(topology.Protocol(port.Protocol)), at))
		}
	}
	suffix := fmt.Sprintf(":%d -s rr\n", service.Spec.Ports[0].NodePort) // the API server gives all protocols one number
	cluster.Await(t, "virtual servers of the NodePorts", func() error {
		var got []string
		for line := range strings.Lines(s.IPVS(t)) {
			if strings.HasSuffix(line, suffix) {
				got = append(got, line)
			}
		}
		return differs(cluster.TableOf(strings.Join(want, "")), strings.Join(got, ""))
	})
}

// servedAt asks the NodePorts from outside at some addresses: these are served, the others refuse at once.
func (s *scene) servedAt(t *testing.T, service *cluster.Service, served, asked []netip.Addr) {
	t.Helper()
	for _, port := range service.Spec.Ports {
		for _, addr := range asked {
			target := probe.To(topology.Protocol(port.Protocol), addr, uint16(port.NodePort))
			if !slices.Contains(served, addr) {
				refused(t, s.Client.Netns, target)
				continue
			}
			cluster.AwaitAnswer(t, s.Client.Netns, target, "web")
		}
	}
}

// With strictARP the node tells no neighbour that a virtual address is its own, so that MetalLB's speaker alone says on
// which node it is; there it is served as ever. Without, the node answers for every virtual IPv4 address, and makes its
// neighbours believe in them by its own questions, too. For IPv6 the kernel answers for addresses of the link only.
func TestB45_StrictARP(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	service := s.AddService(t, "announced")
	service.Expose(t)
	service.SetEndpoints(t, s.Endpoint(s.web))
	ways := cluster.Of(cluster.Ways(virtualKinds()...), topology.TCP)
	s.await(t, service, "web", ways...)
	neighbour := s.AddClient(t, "neighbour")
	for _, way := range ways {
		neighbour.RouteOnLink(t, alone(service.Address(way.Kind, way.Family)))
	}
	for _, strict := range []bool{false, true} {
		if strict {
			s.daemon.Restart(t, "--ipvs-strict-arp")
			cluster.Run(t, neighbour.Netns, "ip", "neigh", "flush", "dev", topology.UplinkName)
		}
		for _, way := range ways {
			t.Run(fmt.Sprintf("strict=%v/%s", strict, way), func(t *testing.T) {
				_, err := probe.Ask(t.Context(), neighbour.Netns, service.Target(way))
				if known := !strict && way.Family == topology.IPv4; known && err != nil {
					t.Errorf("the node does not answer for %s: %v", service.Address(way.Kind, way.Family), err)
				} else if !known && !errors.Is(err, probe.ErrUnreachable) {
					t.Errorf("somebody answers for %s (%v), want that nobody does", service.Address(way.Kind, way.Family), err)
				}
			})
		}
		s.announces(t, service, !strict)
	}
	for _, way := range ways { // as if a speaker had announced it
		neighbour.UnrouteUplink(t, alone(service.Address(way.Kind, way.Family)))
		neighbour.RouteVia(t, alone(service.Address(way.Kind, way.Family)), s.Node)
		cluster.AwaitAnswer(t, neighbour.Netns, service.Target(way), "web")
	}
	cluster.AwaitAnswer(t, neighbour.Netns, service.Target(cluster.Way{Kind: cluster.NodePort, Protocol: topology.TCP, Family: topology.IPv4}), "web")
}

// announces checks whether the node, when it has forgotten where a client is and has an answer for it from a virtual
// address, asks for the client in the name of that address. The client takes down who asks.
func (s *scene) announces(t *testing.T, service *cluster.Service, want bool) {
	t.Helper()
	way := cluster.Way{Kind: cluster.LoadBalancerIP, Protocol: topology.TCP, Family: topology.IPv4}
	addr := service.Address(way.Kind, way.Family)
	client := s.AddClient(t, fmt.Sprintf("client-of-announcer-%v", want))
	client.RouteVia(t, alone(addr), s.Node)
	ask(t, client.Netns, service.Target(way))
	cluster.Run(t, s.Node.Netns, "ip", "neigh", "flush", "dev", topology.UplinkName)
	ask(t, client.Netns, service.Target(way))
	known := cluster.Run(t, client.Netns, "ip", "neigh", "show", "to", addr.String())
	if got := strings.Contains(known, "lladdr"); got != want {
		t.Errorf("the client knows of %s: %q; want it told by the node: %v", addr, known, want)
	}
}

// Whose packets to a ClusterIP are masqueraded goes by detectLocalMode: a pod keeps its address, others, who have a route
// to ClusterIPs of their own making, do not.
func TestB03_DetectLocalMode(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	service := s.AddService(t, "inside")
	service.SetEndpoints(t, s.Endpoint(s.web))
	there := s.Node2.AddPod(t, "client-there")
	for _, addr := range ipsOf(service) {
		s.Client.RouteVia(t, alone(addr), s.Node)
		s.Node2.RouteVia(t, alone(addr), s.Node)
	}
	ways := cluster.Ways(cluster.ClusterIP)
	const here, pods, everybody, nobody = "the node's pods", "all pods", "everybody", "nobody"
	for _, c := range []struct {
		name  string
		flags []string
		keep  string // who keeps the address
	}{
		{"ClusterCIDR", []string{"--cluster-cidr=10.244.0.0/16,fd00:10:244::/48"}, pods},
		{"NodeCIDR", []string{"--detect-local-mode=NodeCIDR"}, here},
		{"BridgeInterface", []string{"--detect-local-mode=BridgeInterface", "--pod-bridge-interface=" + topology.PodBridgeName}, here},
		{"InterfaceNamePrefix", []string{"--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=cni"}, here},
		{"ClusterCIDR without CIDRs", nil, everybody},
		{"masqueradeAll", []string{"--masquerade-all", "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48"}, nobody},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.daemon.Restart(t, c.flags...)
			s.Settle(t)
			for _, way := range ways {
				s.keeps(t, service, way, s.client.Netns, c.keep != nobody)
				s.keeps(t, service, way, there.Netns, c.keep == pods || c.keep == everybody)
				s.keeps(t, service, way, s.Client.Netns, c.keep == everybody)
			}
		})
	}
}

// keeps checks whether the endpoint sees the asker's own address or one of the node.
func (s *scene) keeps(t *testing.T, service *cluster.Service, way cluster.Way, from *topology.Netns, own bool) {
	t.Helper()
	answer, err := probe.Ask(t.Context(), from, service.Target(way))
	if err != nil {
		t.Errorf("%s from %s: %v", way, from.Name, err)
		return
	}
	want := s.nodeAddresses(way.Family)
	if own {
		want = []netip.Addr{from.Address(way.Family)}
	}
	if !slices.Contains(want, answer.Client.Addr()) {
		t.Errorf("%s from %s: the endpoint saw %s, want one of %s", way, from.Name, answer.Client, want)
	}
}
