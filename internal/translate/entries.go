package translate

import (
	"fmt"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// entry adds an entry to the set of the family.
func (t *translation) entry(family dataplane.Family, set string, entry dataplane.Entry) {
	entry.Set = SetName(family, set)
	t.objects.Entries = append(t.objects.Entries, entry)
}

// entryOf returns the entry for a virtual server in a set of addresses and ports.
func entryOf(key dataplane.VirtualServerKey) dataplane.Entry {
	return dataplane.Entry{Addr: key.Addr, Protocol: key.Protocol, Port: key.Port}
}

// classify adds the entries by which the rules tell what kind of virtual server a packet is for.
func (t *translation) classify(kind kind, key dataplane.VirtualServerKey) {
	entry, local := entryOf(key), t.view.Policy.ExternalLocal
	switch kind {
	case cluster:
		t.entry(key.Family, ClusterIP, entry)
	case external:
		if local {
			t.entry(key.Family, ExternalIPLocal, entry)
		} else {
			t.entry(key.Family, ExternalIP, entry)
		}
	case loadBalancer:
		t.entry(key.Family, LoadBalancer, entry)
		if local {
			t.entry(key.Family, LoadBalancerLocal, entry)
		}
		t.sourceRanges(key)
	case nodePort:
		set, localSet := nodePortSets(key.Protocol)
		if key.Protocol != dataplane.SCTP {
			entry = dataplane.Entry{Port: key.Port}
		}
		t.entry(key.Family, set, entry)
		if local {
			t.entry(key.Family, localSet, entry)
		}
	}
}

// sourceRanges adds the entries that limit who may use a load-balancer IP. A family for which the Service names no range
// is not limited. The node counts by the one IP by which others know it, as in kube-proxy: what it sends to a bound address
// does not tell which of its addresses another machine would see. From sockets bound to one, and to addresses that are not
// bound here, the packet itself tells.
func (t *translation) sourceRanges(key dataplane.VirtualServerKey) {
	nodeIP, known := t.facts.NodeIP(key.Family)
	for _, prefix := range t.view.Policy.SourceRanges {
		if !prefix.IsValid() || dataplane.FamilyOf(prefix.Addr()) != key.Family {
			continue
		}
		t.entry(key.Family, LoadBalancerFW, entryOf(key))
		for _, part := range storable(prefix.Masked()) {
			entry := entryOf(key)
			entry.Peer = part
			t.entry(key.Family, LoadBalancerSourceCIDR, entry)
		}
		if known && prefix.Contains(nodeIP) {
			// What the node itself sends to the address has that very address as its source: the kernel prefers
			// the destination when it is local. The node being allowed, so is this.
			entry := entryOf(key)
			entry.Peer = netip.PrefixFrom(key.Addr, key.Addr.BitLen())
			t.entry(key.Family, LoadBalancerSourceIP, entry)
		}
	}
}

// storable returns prefixes that cover the same and that ipset can store: a network of length 0 it cannot (P20).
func storable(prefix netip.Prefix) []netip.Prefix {
	if prefix.Bits() != 0 {
		return []netip.Prefix{prefix}
	}
	bytes := prefix.Addr().AsSlice()
	bytes[0] = 0x80
	upper, _ := netip.AddrFromSlice(bytes)
	return []netip.Prefix{netip.PrefixFrom(prefix.Addr(), 1), netip.PrefixFrom(upper, 1)}
}

// hairpin adds the entries by which an endpoint that is sent its own packet back is recognised. Only endpoints of this
// node can be: masquerading them here makes the reply come back here. Those that get no traffic now are included, since
// they may have connections from before.
func (t *translation) hairpin(family dataplane.Family, protocol dataplane.Protocol, endpoints []service.PortEndpoint) {
	for _, e := range endpoints {
		if e.IsOn(t.facts.Node) {
			t.entry(family, LoopBack, dataplane.Entry{
				Addr: e.Addr, Protocol: protocol, Port: e.Port, Peer: netip.PrefixFrom(e.Addr, e.Addr.BitLen()),
			})
		}
	}
}

// bind puts the addresses of the virtual servers on kube-ipvs0, except those that some node has: one of this node would
// be taken off its interface's rules, and one of another node could not be reached from here any more (P18).
func (t *translation) bind(families []dataplane.Family) {
	if len(t.objects.Pools) == 0 {
		return
	}
	for _, vips := range t.vips() {
		for _, addr := range vips.addrs {
			family := dataplane.FamilyOf(addr)
			if !slices.Contains(families, family) {
				continue
			}
			if reason := t.obstacle(addr); reason != "" {
				t.problem(vips.field, addr.String(), reason)
				continue
			}
			t.objects.Addresses = append(t.objects.Addresses, addr)
			t.entry(family, IPVSIPs, dataplane.Entry{Addr: addr})
		}
	}
	slices.SortFunc(t.objects.Addresses, netip.Addr.Compare)
	t.objects.Addresses = slices.Compact(t.objects.Addresses)
}

// obstacle says what keeps an address from being bound.
func (t *translation) obstacle(addr netip.Addr) string {
	const unbound = "is served, but not bound, because %s has it; use an address that no node has"
	switch {
	case !service.Reachable(addr):
		return "cannot be served; use a plain unicast address"
	case slices.Contains(t.facts.Local, addr):
		return fmt.Sprintf(unbound, "an interface of this node")
	case slices.Contains(t.facts.Node.Addresses, addr):
		return fmt.Sprintf(unbound, "the Node object of this node")
	}
	if _, found := slices.BinarySearchFunc(t.facts.OtherNodes, addr, netip.Addr.Compare); found {
		return fmt.Sprintf(unbound, "another node")
	}
	return ""
}
