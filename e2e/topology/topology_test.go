package topology_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/sctp"
	"kube-ipvs-proxy/e2e/topology"
)

const port = 8080

// quick is a timeout for questions that must not be answered.
const quick = 300 * time.Millisecond

// protocols returns what this kernel can speak. SCTP is missing only where the
// kernel lacks it; the lab's kernel has it.
func protocols(t *testing.T) []topology.Protocol {
	t.Helper()
	err := sctp.Supported()
	if errors.Is(err, sctp.ErrUnsupported) {
		t.Logf("SCTP is left to a run in the lab: %v", err)
		return []topology.Protocol{topology.TCP, topology.UDP}
	}
	if err != nil {
		t.Fatal(err)
	}
	return topology.Protocols()
}

// podNetworks are the ways of attaching pods.
func podNetworks() map[string]topology.Options {
	return map[string]topology.Options{
		"bridged":             {},
		"bridged unfiltered":  {NoBridgeNetfilter: true},
		"routed":              {Pods: topology.Routed},
		"routed, option moot": {Pods: topology.Routed, NoBridgeNetfilter: true},
	}
}

func TestEveryoneReachesWhomTheyShould(t *testing.T) {
	for name, options := range podNetworks() {
		t.Run(name, func(t *testing.T) {
			top := topology.New(t, options)
			a, b := top.Node.AddPod(t, "pod-a"), top.Node.AddPod(t, "pod-b")
			far := top.Node2.AddPod(t, "pod-far")
			for _, server := range []*topology.Netns{a.Netns, far.Netns, top.Node.Netns, top.Node2.Netns} {
				backend.StartAll(t, server, port, protocols(t)...)
			}
			for _, path := range []struct {
				from, to *topology.Netns
			}{
				{b.Netns, a.Netns}, {b.Netns, far.Netns}, {far.Netns, a.Netns}, {a.Netns, a.Netns},
				{top.Node.Netns, a.Netns}, {top.Node.Netns, far.Netns}, {top.Node2.Netns, a.Netns},
				{a.Netns, top.Node.Netns}, {a.Netns, top.Node2.Netns}, {top.Node.Netns, top.Node2.Netns},
				{top.Client.Netns, top.Node.Netns}, {top.Client.Netns, top.Node2.Netns},
			} {
				for _, protocol := range protocols(t) {
					for _, family := range topology.Families() {
						reach(t, path.from, path.to, protocol, family)
					}
				}
			}
		})
	}
}

// reach checks that one namespace reaches another and that no address changes on the way.
func reach(t *testing.T, from, to *topology.Netns, protocol topology.Protocol, family topology.Family) {
	t.Helper()
	where := fmt.Sprintf("%s → %s over %s, %s", from.Name, to.Name, protocol, family)
	answer, err := probe.Ask(t.Context(), from, probe.To(protocol, to.Address(family), port))
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	if answer.Backend != to.Name || answer.Server != netip.AddrPortFrom(to.Address(family), port) {
		t.Errorf("%s: %s at %v answers", where, answer.Backend, answer.Server)
	}
	// A node has several addresses: towards its pods it uses another one.
	if answer.Client.Addr() != from.Address(family) && from.Name != "node-1" {
		t.Errorf("%s: the server sees %v, want %v", where, answer.Client, from.Address(family))
	}
}

func TestClientReachesPodsAndServicesOnlyWithARoute(t *testing.T) {
	top := topology.New(t, topology.Options{})
	pod := top.Node.AddPod(t, "pod")
	backend.StartAll(t, pod.Netns, port, topology.TCP)
	for _, family := range topology.Families() {
		target := probe.To(topology.TCP, pod.Address(family), port)
		if _, err := probe.Ask(t.Context(), top.Client.Netns, target); !errors.Is(err, probe.ErrUnreachable) {
			t.Errorf("%s, no route: %v, want %v", family, err, probe.ErrUnreachable)
		}
		top.Client.RouteVia(t, top.Node.PodSubnet(family), top.Node)
		if answer, err := probe.Ask(t.Context(), top.Client.Netns, target); err != nil || answer.Client.Addr() != top.Client.Address(family) {
			t.Errorf("%s, route: %+v, %v", family, answer, err)
		}
		top.Client.UnrouteUplink(t, top.Node.PodSubnet(family))
		if _, err := probe.Ask(t.Context(), top.Client.Netns, target); !errors.Is(err, probe.ErrUnreachable) {
			t.Errorf("%s, route removed: %v, want %v", family, err, probe.ErrUnreachable)
		}
	}
}

func TestNeighboursAreAskedForAddressesOnLink(t *testing.T) {
	top := topology.New(t, topology.Options{})
	other := top.AddClient(t, "other")
	for _, address := range []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")} {
		alone := netip.PrefixFrom(address, address.BitLen())
		other.RouteOnLink(t, alone)
		if err := probe.Ping(t.Context(), other.Netns, address, 8, quick); err == nil {
			t.Errorf("%v answers before anyone has it", address)
		}
		other.RouteOnLink(t, alone) // forgets nothing, fails for nothing
		top.Node.AddAddress(t, alone)
		deadline := time.Now().Add(time.Minute)
		for {
			err := probe.Ping(t.Context(), other.Netns, address, 8, quick)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v does not answer: %v", address, err)
			}
		}
	}
}

func TestFurtherAddressBeginsNothing(t *testing.T) {
	top := topology.New(t, topology.Options{})
	for family, address := range map[topology.Family]struct{ further, peer string }{
		topology.IPv4: {"192.0.2.7/32", "198.51.100.7/32"},
		topology.IPv6: {"fd99::7/128", "2001:db8::7/128"},
	} {
		peer := netip.MustParsePrefix(address.peer)
		top.Node.AddAddress(t, netip.MustParsePrefix(address.further))
		top.Client.AddAddress(t, peer)
		top.Node.RouteVia(t, peer, top.Client)
		backend.Start(t, top.Client.Netns, topology.TCP, netip.AddrPortFrom(peer.Addr(), port))
		answer, err := probe.Ask(t.Context(), top.Node.Netns, probe.To(topology.TCP, peer.Addr(), port))
		if err != nil || answer.Client.Addr() != top.Node.Address(family) {
			t.Errorf("%s: %+v, %v, want it to come from %v", family, answer, err, top.Node.Address(family))
		}
	}
}

func TestRemovedPodIsSilent(t *testing.T) {
	for name, options := range podNetworks() {
		t.Run(name, func(t *testing.T) {
			top := topology.New(t, options)
			pod, stays := top.Node.AddPod(t, "pod"), top.Node.AddPod(t, "stays")
			server := backend.Start(t, pod.Netns, topology.TCP, netip.AddrPortFrom(pod.IPv4, port))
			reach(t, top.Node2.Netns, pod.Netns, topology.TCP, topology.IPv4)
			server.Close()
			pod.Remove(t)
			target := probe.To(topology.TCP, pod.IPv4, port)
			target.Timeout = quick
			if _, err := probe.Ask(t.Context(), top.Node2.Netns, target); !errors.Is(err, probe.ErrTimeout) && !errors.Is(err, probe.ErrUnreachable) {
				t.Errorf("got %v, want no answer", err)
			}
			next := top.Node.AddPod(t, "next")
			if next.IPv4 == pod.IPv4 || next.IPv4 == stays.IPv4 {
				t.Errorf("address %v is given out again", next.IPv4)
			}
		})
	}
}

func TestNodesBridgeSettings(t *testing.T) {
	for _, test := range []struct {
		options topology.Options
		want    string
	}{{topology.Options{}, "1"}, {topology.Options{NoBridgeNetfilter: true}, "0"}} {
		top := topology.New(t, test.options)
		for _, key := range []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"} {
			if got, err := top.Node.Sysctl(key); err != nil || got != test.want {
				t.Errorf("%+v: %s is %q, %v, want %s", test.options, key, got, err, test.want)
			}
		}
		pod := top.Node.AddPod(t, "pod")
		link, err := top.Node.Netlink().LinkByName(pod.HostLink)
		if err != nil {
			t.Fatal(err)
		}
		port, err := top.Node.Netlink().LinkGetProtinfo(link)
		if err != nil || !port.Hairpin {
			t.Errorf("hairpin mode of %s: %+v, %v, want it on", pod.HostLink, port, err)
		}
	}
}

// Many tests make a topology each, so making one has to be cheap.
func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		top := topology.New(b, topology.Options{})
		top.Node.AddPod(b, "a")
		top.Node.AddPod(b, "b")
		top.Node2.AddPod(b, "c")
	}
}
