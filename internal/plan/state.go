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
	reals  reals
	// unlisted says since when a draining server has been in no slice; its deadline counts from there.
	unlisted map[netip.AddrPort]time.Time
}

// targets returns the addresses and ports that a virtual server serves: its own or, with a firewall mark, those whose
// packets are marked so; none if that is not known.
func (p *Planner) targets(key dataplane.VirtualServerKey) []dataplane.VirtualServerKey {
	if key.Mark == 0 {
		return []dataplane.VirtualServerKey{key}
	}
	return p.marked[key]
}

// setTargets replaces what is known of the addresses and ports whose packets have a firewall mark.
func (p *Planner) setTargets(key dataplane.VirtualServerKey, targets []dataplane.VirtualServerKey) {
	if slices.Equal(p.marked[key], targets) {
		return
	}
	for _, target := range p.marked[key] {
		left := slices.DeleteFunc(p.apart[target], func(k dataplane.VirtualServerKey) bool { return k == key })
		if p.apart[target] = left; len(left) == 0 {
			delete(p.apart, target)
		}
	}
	for _, target := range targets {
		p.apart[target] = append(p.apart[target], key)
	}
	if p.marked[key] = targets; len(targets) == 0 {
		delete(p.marked, key)
	}
}

// keepsConnections reports whether the real servers of a virtual server drain before they are deleted, as its protocol
// says. Where that is not known they do: it is the way that cuts nothing.
func (p *Planner) keepsConnections(key dataplane.VirtualServerKey) bool {
	targets := p.targets(key)
	return len(targets) == 0 || targets[0].Protocol.Drains()
}

// ObserveAddress records that an address is, or is no longer, on the device.
func (p *Planner) ObserveAddress(addr netip.Addr, bound bool) {
	p.newer.note(dataplane.Address{Addr: addr})
	if bound {
		p.addresses[addr] = struct{}{}
	} else {
		delete(p.addresses, addr)
	}
}

// ObserveDeviceGone records that the device vanished, and every address with it.
func (p *Planner) ObserveDeviceGone() {
	for addr := range p.addresses {
		p.newer.note(dataplane.Address{Addr: addr})
	}
	clear(p.addresses)
}

// Confirm records the result of an operation. A failed operation leaves the confirmed state as it was, except that
// dataplane.ErrNotExist proves that something thought to exist does not.
func (p *Planner) Confirm(op dataplane.Operation, result error) {
	p.newer.note(op.Object)
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
		p.confirmEntry(x, done)
	}
}

func (p *Planner) confirmEntry(entry dataplane.Entry, exists bool) {
	key := entry.Key()
	if mark, ok := p.entries[key]; ok {
		p.inEntries[mark]--
		delete(p.entries, key)
	}
	if exists {
		p.inEntries[entry.Mark]++
		p.entries[key] = entry.Mark
	}
}

// HasMark reports whether something in the kernel has the firewall mark: a virtual server, or an entry of a set.
func (p *Planner) HasMark(mark uint32) bool {
	for _, family := range dataplane.Families() {
		if p.pools[dataplane.MarkKeyOf(family, mark)] != nil {
			return true
		}
	}
	return p.inEntries[mark] > 0
}

func (p *Planner) confirmServer(server dataplane.VirtualServer, exists bool) {
	have := p.pools[server.Key]
	switch {
	case !exists:
		delete(p.pools, server.Key)
		p.setTargets(server.Key, nil)
	case have == nil:
		p.pools[server.Key] = &pool{server: server}
	default:
		have.server = server
	}
}

func (p *Planner) confirmMember(verb dataplane.Verb, member dataplane.Member, exists bool) {
	have := p.pools[member.VirtualServer]
	switch {
	case have == nil:
	case exists:
		have.reals.put(member.RealServer)
		if member.Weight == 0 {
			p.weightless[member.VirtualServer] = struct{}{}
		}
	case verb == dataplane.Add:
		delete(p.pools, member.VirtualServer) // only a missing virtual server makes an addition fail so
	default:
		have.reals.drop(member.Addr)
		delete(have.unlisted, member.Addr)
	}
}
