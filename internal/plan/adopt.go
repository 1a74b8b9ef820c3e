package plan

import (
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
)

// foreign reports whether somebody else's forwarding method is used behind the virtual server: direct routing and
// tunnelling are set up by hand or by another balancer, and theirs to change.
func foreign(p dataplane.Pool) bool {
	return slices.ContainsFunc(p.RealServers, func(r dataplane.RealServer) bool {
		return r.Forwarding != dataplane.Masquerade
	})
}

// Foreign reports whether a virtual server that a snapshot found is somebody else's; see Adopt.
func (p *Planner) Foreign(found dataplane.Pool) bool {
	return p.pools[found.Key] == nil && (foreign(found) || !p.options.Ours(found.Key))
}

// BeginSnapshot says that a snapshot of the kernel is being read from now on, which Adopt will be called with. What is
// confirmed or observed in between is newer than the snapshot. A snapshot that fails is followed by another BeginSnapshot.
func (p *Planner) BeginSnapshot() {
	p.newer = &newer{
		servers: make(map[dataplane.VirtualServerKey]struct{}), members: make(map[dataplane.VirtualServerKey]map[netip.AddrPort]struct{}),
		addresses: make(map[netip.Addr]struct{}), entries: make(map[dataplane.Entry]struct{}),
	}
}

// newer are the objects of which the confirmed state is newer than the snapshot that is being read.
type newer struct {
	servers   map[dataplane.VirtualServerKey]struct{} // with their real servers
	members   map[dataplane.VirtualServerKey]map[netip.AddrPort]struct{}
	addresses map[netip.Addr]struct{}
	entries   map[dataplane.Entry]struct{}
}

func (n *newer) note(object dataplane.Object) {
	if n == nil {
		return
	}
	switch x := object.(type) {
	case dataplane.VirtualServer:
		n.servers[x.Key] = struct{}{}
	case dataplane.Member:
		if n.members[x.VirtualServer] == nil {
			n.members[x.VirtualServer] = make(map[netip.AddrPort]struct{})
		}
		n.members[x.VirtualServer][x.Addr] = struct{}{}
	case dataplane.Address:
		n.addresses[x.Addr] = struct{}{}
	case dataplane.Entry:
		n.entries[x.Key()] = struct{}{}
	}
}

// Adopt makes what a snapshot of the kernel found the confirmed state, except for what changed since BeginSnapshot, and
// returns the keys that differ from what was confirmed before. What is not ours is left out, so that no plan ever touches
// it: virtual servers that Options.Ours disowns or that have a real server with another forwarding method, unless this
// planner created them; and such real servers in any case.
func (p *Planner) Adopt(found dataplane.Objects) dataplane.Keys {
	changed := dataplane.NewKeys()
	if p.newer == nil {
		p.BeginSnapshot() // just now: nothing is newer
	}
	pools := p.adoptPools(found.Pools)
	replace(p.pools, pools, p.newer.servers, changed.VirtualServers, (*pool).same)
	p.pools = pools

	addresses := make(map[netip.Addr]struct{}, len(found.Addresses))
	for _, addr := range found.Addresses {
		addresses[addr] = struct{}{}
	}
	replace(p.addresses, addresses, p.newer.addresses, changed.Addresses, func(struct{}, struct{}) bool { return true })
	p.addresses = addresses

	entries := make(map[dataplane.Entry]uint32, len(found.Entries))
	for _, entry := range found.Entries {
		entries[entry.Key()] = entry.Mark
	}
	replace(p.entries, entries, p.newer.entries, changed.Entries, func(a, b uint32) bool { return a == b })
	p.entries = entries
	clear(p.inEntries)
	for _, mark := range entries {
		p.inEntries[mark]++
	}
	p.newer = nil
	return changed
}

// replace carries what is newer over from before to now, and records in changed the keys of what differs between the two.
func replace[K comparable, V any](before, now map[K]V, newer, changed map[K]struct{}, same func(a, b V) bool) {
	keep(before, now, newer)
	for key, value := range now {
		if old, ok := before[key]; !ok || !same(old, value) {
			changed[key] = struct{}{}
		}
	}
	for key := range before {
		if _, ok := now[key]; !ok {
			changed[key] = struct{}{}
		}
	}
}

// keep makes now as before at the given keys.
func keep[K comparable, V any](before, now map[K]V, keys map[K]struct{}) {
	for key := range keys {
		if value, ok := before[key]; ok {
			now[key] = value
		} else {
			delete(now, key)
		}
	}
}

func (p *Planner) adoptPools(found []dataplane.Pool) map[dataplane.VirtualServerKey]*pool {
	pools := make(map[dataplane.VirtualServerKey]*pool, len(found))
	for _, f := range found {
		old := p.pools[f.Key]
		if p.Foreign(f) {
			continue
		}
		if old != nil && p.holds(old, f) {
			pools[f.Key] = old
			continue
		}
		pools[f.Key] = p.adoptPool(f)
		if old != nil {
			pools[f.Key].unlisted = old.unlisted
		}
	}
	for key, members := range p.newer.members {
		before, now := p.pools[key], pools[key]
		if before == nil || now == nil {
			p.newer.servers[key] = struct{}{} // it came or went itself
			continue
		}
		if before != now {
			now.reals.as(before.reals, members)
		}
	}
	return pools
}

// holds reports whether a pool found is the confirmed one, which then need not be built anew.
func (p *Planner) holds(have *pool, found dataplane.Pool) bool {
	if have.server != found.VirtualServer || !have.reals.sameAs(found.RealServers) {
		return false
	}
	for _, real := range found.RealServers {
		if real.Weight == 0 {
			p.weightless[found.Key] = struct{}{}
		}
	}
	return true
}

func (p *Planner) adoptPool(found dataplane.Pool) *pool {
	adopted := &pool{server: found.VirtualServer, reals: make(reals, 0, len(found.RealServers))}
	for _, real := range found.RealServers {
		if real.Forwarding != dataplane.Masquerade {
			continue
		}
		adopted.reals = append(adopted.reals, real)
		if real.Weight == 0 {
			p.weightless[found.Key] = struct{}{}
		}
	}
	slices.SortFunc(adopted.reals, func(a, b dataplane.RealServer) int { return a.Addr.Compare(b.Addr) })
	return adopted
}

// same reports whether the kernel holds the same in both.
func (p *pool) same(o *pool) bool {
	if p == o {
		return true
	}
	return p.server == o.server && slices.Equal(p.reals, o.reals)
}
