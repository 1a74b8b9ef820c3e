package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
)

// Host is a node or a client: a namespace with an uplink to the other hosts.
type Host struct {
	*Netns

	// Only nodes have these.
	subnets dual[netip.Prefix]
	options Options
	pods    int
}

// Pod is a namespace whose only way out is its node.
type Pod struct {
	*Netns
	// Host is the pod's node.
	Host *Host
	// HostLink is the name of the node's end of the pod's link.
	HostLink string
}

// PodSubnet returns the subnet of the node's pods, or an invalid prefix for a client.
func (h *Host) PodSubnet(family Family) netip.Prefix {
	if family == IPv4 {
		return h.subnets.four
	}
	return h.subnets.six
}

// becomeNode makes the host forward packets and ready for pods.
func (h *Host) becomeNode(number int) error {
	if err := h.setSysctls(forwarding()); err != nil {
		return err
	}
	if h.options.Pods == Routed {
		return nil
	}
	if err := h.setBridgeNetfilter(!h.options.NoBridgeNetfilter); err != nil {
		return err
	}
	if err := h.addBridge(PodBridgeName, bridgeHardware(number)); err != nil {
		return err
	}
	return h.addAddresses(PodBridgeName, within(h.gateway(), h.subnets))
}

// gateway is the node's address towards its pods.
func (h *Host) gateway() dual[netip.Addr] { return nth(h.subnets, 1) }

// AddPod adds a pod to a node. It gets the next addresses of the node's pod subnets, the
// first pod those that end in 2. It fails the test on any error.
func (h *Host) AddPod(t testing.TB, name string) *Pod {
	t.Helper()
	if !h.subnets.four.IsValid() {
		t.Fatalf("%s is no node: it cannot have pod %s", h.Name, name)
	}
	h.pods++
	if h.pods > maxPods {
		t.Fatalf("a node holds %d pods at most", maxPods)
	}
	namespace, err := newNetns(name)
	if err != nil {
		t.Fatal(err)
	}
	namespace.closeAfter(t)
	addresses := nth(h.subnets, h.pods+1)
	namespace.IPv4, namespace.IPv6 = addresses.four, addresses.six
	pod := &Pod{Netns: namespace, Host: h, HostLink: fmt.Sprintf("%s%d", PodLinkPrefix, h.pods)}
	if err := pod.wire(addresses); err != nil {
		t.Fatal(err)
	}
	return pod
}

// wire connects the pod with its node.
func (p *Pod) wire(addresses dual[netip.Addr]) error {
	if err := p.setSysctls(hostSettings()); err != nil {
		return err
	}
	if err := p.addVeth(UplinkName, p.Host.Netns, p.HostLink); err != nil {
		return err
	}
	attach := p.bridge
	if p.Host.options.Pods == Routed {
		attach = p.route
	}
	if err := attach(addresses); err != nil {
		return err
	}
	gateway, all := p.Host.gateway(), everywhere()
	return errors.Join(
		p.addRoute(all.four, gateway.four, UplinkName),
		p.addRoute(all.six, gateway.six, UplinkName),
		p.awaitCarrier(UplinkName),
		p.Host.awaitCarrier(p.HostLink),
	)
}

// bridge puts the pod on its node's bridge.
func (p *Pod) bridge(addresses dual[netip.Addr]) error {
	if err := p.Host.attach(p.HostLink, PodBridgeName, true); err != nil {
		return err
	}
	return errors.Join(
		p.addAddresses(UplinkName, within(addresses, p.Host.subnets)),
		p.Host.awaitCarrier(PodBridgeName),
	)
}

// route makes a link between pod and node that carries the pod's addresses only.
func (p *Pod) route(addresses dual[netip.Addr]) error {
	gateway := alone(p.Host.gateway())
	if err := errors.Join(p.Host.addAddresses(p.HostLink, gateway), p.addAddresses(UplinkName, alone(addresses))); err != nil {
		return err
	}
	for i, pod := range alone(addresses) {
		err := errors.Join(
			p.Host.addRoute(pod, netip.Addr{}, p.HostLink),
			p.addRoute(gateway[i], netip.Addr{}, UplinkName),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

// Remove takes the pod away as its node's kubelet would: its processes are
// killed and its link is gone, so that nothing answers for its addresses. Sockets
// made in it should be closed before.
func (p *Pod) Remove(t testing.TB) {
	t.Helper()
	link, err := p.Host.link(p.HostLink)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Host.routes.LinkDel(link); err != nil {
		t.Fatalf("remove link %s of %s: %v", p.HostLink, p.Host.Name, err)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
}

// RouteVia sends the host's packets for destination by way of another host,
// until the test ends or UnrouteUplink.
func (h *Host) RouteVia(t testing.TB, destination netip.Prefix, by *Host) {
	t.Helper()
	if err := h.addRoute(destination, by.Address(FamilyOf(destination.Addr())), UplinkName); err != nil {
		t.Fatal(err)
	}
}

// RouteOnLink lets the host look for destination among its neighbours, so that
// it asks for the addresses by ARP or neighbour discovery.
func (h *Host) RouteOnLink(t testing.TB, destination netip.Prefix) {
	t.Helper()
	if err := h.addRoute(destination, netip.Addr{}, UplinkName); err != nil {
		t.Fatal(err)
	}
}

// UnrouteUplink removes the route to destination that RouteVia or RouteOnLink added.
func (h *Host) UnrouteUplink(t testing.TB, destination netip.Prefix) {
	t.Helper()
	if err := h.removeRoute(destination, UplinkName); err != nil {
		t.Fatal(err)
	}
}

// AddAddress gives the host's uplink another address, with the length of its
// subnet or, for one that stands alone, of the whole address. It is served there,
// but what the host says of its own accord keeps coming from the addresses it had.
func (h *Host) AddAddress(t testing.TB, address netip.Prefix) {
	t.Helper()
	if err := h.addFurtherAddress(UplinkName, address); err != nil {
		t.Fatal(err)
	}
}
