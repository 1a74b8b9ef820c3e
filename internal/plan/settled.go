package plan

import (
	"iter"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
)

// Wanted answers what is wanted, and under which keys something may be.
type Wanted interface {
	Desired
	VirtualServers() iter.Seq[dataplane.VirtualServerKey]
	Addresses() iter.Seq[netip.Addr]
	Entries() iter.Seq[dataplane.Entry]
}

// Unsettled adds to keys those of which the confirmed state and the desired one differ, draining included: those for which
// Plan could have something to do. It looks at everything there is, and allocates for what differs only.
func (p *Planner) Unsettled(wanted Wanted, keys dataplane.Keys) {
	for key, have := range p.pools {
		if !p.settled(key, have, wanted) {
			keys.VirtualServers[key] = struct{}{}
		}
	}
	for key := range wanted.VirtualServers() {
		if p.pools[key] == nil {
			keys.VirtualServers[key] = struct{}{}
		}
	}
	for addr := range p.addresses {
		if !wanted.Address(addr) {
			keys.Addresses[addr] = struct{}{}
		}
	}
	p.Unbound(wanted, keys)
	for key, mark := range p.entries {
		if want, ok := wanted.Entry(key); !ok || want.Mark != mark {
			keys.Entries[key] = struct{}{}
		}
	}
	for key := range wanted.Entries() {
		if !contains(p.entries, key) {
			keys.Entries[key] = struct{}{}
		}
	}
}

// Unbound adds to keys the addresses that are wanted and, as far as is confirmed, not on the device.
func (p *Planner) Unbound(wanted Wanted, keys dataplane.Keys) {
	for addr := range wanted.Addresses() {
		if !contains(p.addresses, addr) {
			keys.Addresses[addr] = struct{}{}
		}
	}
}

// settled reports whether a virtual server is as desired, its real servers are exactly those that are, and what is
// remembered of it is what planning it would remember. One without any real server is not to be there at all.
func (p *Planner) settled(key dataplane.VirtualServerKey, have *pool, desired Desired) bool {
	want, wanted := desired.Pool(key)
	return wanted && len(want.RealServers) > 0 && have.server == want.VirtualServer && len(have.unlisted) == 0 && have.reals.sameAs(want.RealServers) &&
		slices.Equal(p.leaving[key], want.Leaving) && (key.Mark == 0 || slices.Equal(p.marked[key], want.For))
}
