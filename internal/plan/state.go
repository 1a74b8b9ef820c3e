package plan

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// pool is the confirmed state of one virtual server.
type pool struct {
	server dataplane.VirtualServer
	reals  map[netip.AddrPort]dataplane.RealServer
	// unlisted says since when a draining server has been in no slice; its deadline counts from there.
	unlisted map[netip.AddrPort]time.Time
}

// foreign reports whether somebody else's forwarding method is used behind the virtual server: direct routing and
// tunnelling are set up by hand or by another balancer, and theirs to change.
func foreign(p dataplane.Pool) bool {
	return slices.ContainsFunc(p.RealServers, func(r dataplane.RealServer) bool {
		return r.Forwarding != dataplane.Masquerade
	})
}

// Adopt makes what a snapshot of the kernel found the confirmed state and returns the keys that differ from what was
// confirmed before. The keys in newer are left as they are: they changed while the snapshot was read. What is not ours is left out, so that no plan ever touches it: virtual servers that Options.Ours
// disowns or that have a real server with another forwarding method, unless this planner created them; and such real
// servers in any case.
func (p *Planner) Adopt(found dataplane.Objects, newer dataplane.Keys) dataplane.Keys {
	changed := dataplane.NewKeys()
	pools := make(map[dataplane.VirtualServerKey]*pool, len(found.Pools))
	for _, f := range found.Pools {
		old := p.pools[f.Key]
		if old == nil && (foreign(f) || !p.options.Ours(f.Key)) {
			continue
		}
		pools[f.Key] = p.adoptPool(f)
		if old != nil {
			pools[f.Key].unlisted = old.unlisted
		}
	}
	adopt(p.pools, pools, newer.VirtualServers, changed.VirtualServers, (*pool).same)
	p.pools = pools

	addresses := make(map[netip.Addr]struct{}, len(found.Addresses))
	for _, addr := range found.Addresses {
		addresses[addr] = struct{}{}
	}
	adopt(p.addresses, addresses, newer.Addresses, changed.Addresses, func(struct{}, struct{}) bool { return true })
	p.addresses = addresses

	entries := make(map[dataplane.Entry]uint32, len(found.Entries))
	for _, entry := range found.Entries {
		entries[entry.Key()] = entry.Mark
	}
	adopt(p.entries, entries, newer.Entries, changed.Entries, func(a, b uint32) bool { return a == b })
	p.entries = entries
	return changed
}

// adopt carries what is newer over from before to now, and records in changed the keys of what differs between the two.
func adopt[K comparable, V any](before, now map[K]V, newer, changed map[K]struct{}, same func(a, b V) bool) {
	for key := range newer {
		if value, ok := before[key]; ok {
			now[key] = value
		} else {
			delete(now, key)
		}
	}
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

func (p *Planner) adoptPool(found dataplane.Pool) *pool {
	adopted := &pool{server: found.VirtualServer, reals: make(map[netip.AddrPort]dataplane.RealServer, len(found.RealServers))}
	for _, real := range found.RealServers {
		if real.Forwarding != dataplane.Masquerade {
			continue
		}
		adopted.reals[real.Addr] = real
		if real.Weight == 0 {
			p.weightless[found.Key] = struct{}{}
		}
	}
	return adopted
}

// same reports whether the kernel holds the same in both.
func (p *pool) same(o *pool) bool {
	if p.server != o.server || len(p.reals) != len(o.reals) {
		return false
	}
	for addr, real := range p.reals {
		if o.reals[addr] != real {
			return false
		}
	}
	return true
}

// ObserveAddress records that an address is, or is no longer, on the device.
func (p *Planner) ObserveAddress(addr netip.Addr, bound bool) {
	if bound {
		p.addresses[addr] = struct{}{}
	} else {
		delete(p.addresses, addr)
	}
}

// ObserveDeviceGone records that the device vanished, and every address with it.
func (p *Planner) ObserveDeviceGone() { clear(p.addresses) }

// Confirm records the result of an operation. A failed operation leaves the confirmed state as it was, except that
// dataplane.ErrNotExist proves that something thought to exist does not.
func (p *Planner) Confirm(op dataplane.Operation, result error) {
	if result != nil && !errors.Is(result, dataplane.ErrNotExist) {
		return
	}
	done := result == nil && op.Verb != dataplane.Delete
	switch x := op.Object.(type) {
	case dataplane.VirtualServer:
		p.confirmServer(x, done)
	case dataplane.Member:
		p.confirmMember(op.Verb, x, done)
	case dataplane.Address:
		p.ObserveAddress(x.Addr, done)
	case dataplane.Entry:
		if done {
			p.entries[x.Key()] = x.Mark
		} else {
			delete(p.entries, x.Key())
		}
	}
}

func (p *Planner) confirmServer(server dataplane.VirtualServer, exists bool) {
	have := p.pools[server.Key]
	switch {
	case !exists:
		delete(p.pools, server.Key)
	case have == nil:
		p.pools[server.Key] = &pool{server: server, reals: make(map[netip.AddrPort]dataplane.RealServer)}
	default:
		have.server = server
	}
}

func (p *Planner) confirmMember(verb dataplane.Verb, member dataplane.Member, exists bool) {
	have := p.pools[member.VirtualServer]
	switch {
	case have == nil:
	case exists:
		have.reals[member.Addr] = member.RealServer
		if member.Weight == 0 {
			p.weightless[member.VirtualServer] = struct{}{}
		}
	case verb == dataplane.Add:
		delete(p.pools, member.VirtualServer) // only a missing virtual server makes an addition fail so
	default:
		delete(have.reals, member.Addr)
		delete(have.unlisted, member.Addr)
	}
}
