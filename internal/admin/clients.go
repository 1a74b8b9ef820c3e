package admin

import (
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// client is who opens a connection.
type client struct {
	name  string // a phrase
	from  netip.Addr
	local bool   // the node itself
	input string // interface by which its packets come in; empty if it does not matter
}

// clients returns those to look at: the one that is asked about or, without, a pod of this node and somebody outside, who
// where source ranges count comes twice. The notes say who is left out.
func (e explainer) clients(s *served) (clients []client, notes []string) {
	if e.question.From.IsValid() {
		return []client{e.recognise(e.question.From)}, nil
	}
	if addr, known := e.somePod(); known {
		clients = append(clients, client{name: "a pod of this node", from: addr, input: e.podInterface()})
	} else {
		notes = append(notes, "No pods are looked at, since nothing says what addresses they have (detectLocalMode, podCIDRs): give one by --from.")
	}
	outside := "a client outside"
	if s != nil && s.is(kindLoadBalancer) {
		if allowed, limited := e.someAllowed(s); limited {
			clients = append(clients, client{name: "a client in loadBalancerSourceRanges", from: allowed})
			outside = "another client outside"
		}
	}
	if addr, known := e.somebody(s); known {
		clients = append(clients, client{name: outside, from: addr})
	}
	return clients, notes
}

// recognise says who has an address.
func (e explainer) recognise(addr netip.Addr) client {
	switch {
	case e.filter.Local(addr):
		return client{name: "this node itself", from: addr, local: true}
	case slices.ContainsFunc(e.podCIDRs(), func(p netip.Prefix) bool { return p.Contains(addr) }):
		return client{name: "a pod", from: addr, input: e.podInterface()}
	}
	return client{name: "another host", from: addr}
}

// podCIDRs are where pods' addresses are, of the question's family: those of this node first, then what detectLocalMode says.
func (e explainer) podCIDRs() []netip.Prefix {
	basis := e.View.Basis
	all := slices.Concat(basis.Facts.Node.PodCIDRs, basis.Options.Masquerade.Local.CIDRs)
	return slices.DeleteFunc(all, func(p netip.Prefix) bool { return dataplane.FamilyOf(p.Addr()) != e.question.family() })
}

// podInterface is one by which packets of pods come in, if that is how they are told.
func (e explainer) podInterface() string {
	return strings.TrimSuffix(e.View.Basis.Options.Masquerade.Local.Interface, "+")
}

// somePod returns an address that a pod of this node could have.
func (e explainer) somePod() (netip.Addr, bool) {
	for _, prefix := range e.podCIDRs() {
		return inside(prefix, 254), true
	}
	return netip.Addr{}, false
}

// someAllowed returns an address in the Service's source ranges; false if they do not limit the family.
func (e explainer) someAllowed(s *served) (netip.Addr, bool) {
	for _, prefix := range s.view.Policy.SourceRanges {
		if dataplane.FamilyOf(prefix.Addr()) == e.question.family() {
			return inside(prefix, 1), true
		}
	}
	return netip.Addr{}, false
}

// somebody returns an address of nobody the node knows: one of those reserved for documentation. There may be none.
func (e explainer) somebody(s *served) (netip.Addr, bool) {
	taken := e.podCIDRs()
	if s != nil && s.is(kindLoadBalancer) {
		taken = append(taken, s.view.Policy.SourceRanges...)
	}
	for _, text := range []string{"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "2001:db8:ffff::1", "3fff::1"} {
		addr := netip.MustParseAddr(text)
		if dataplane.FamilyOf(addr) == e.question.family() && addr != e.question.To.Addr() && !e.filter.Local(addr) &&
			!slices.ContainsFunc(taken, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// inside returns the address with a number in a prefix, or with the largest below if it has fewer.
func inside(prefix netip.Prefix, number uint8) netip.Addr {
	if host := prefix.Addr().BitLen() - prefix.Bits(); host < 8 {
		number = min(number, uint8(max(int(1)<<host-2, 0)))
	}
	bytes := prefix.Masked().Addr().AsSlice()
	bytes[len(bytes)-1] |= number
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}
