package plan

import (
	"net/netip"
	"slices"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// pool plans one virtual server and its real servers.
func (d *draft) pool(key dataplane.VirtualServerKey) {
	want, wanted := d.request.Desired.Pool(key)
	have := d.planner.pools[key]
	if !wanted {
		delete(d.planner.leaving, key)
		switch {
		case have == nil:
			d.planner.setTargets(key, nil)
		case d.request.AddOnly:
		case d.outlived(key):
			d.changePool(dataplane.Pool{VirtualServer: have.server}, have)
		default:
			d.deletePool(have)
		}
		return
	}
	if key.Mark != 0 {
		d.retarget(want, have)
	}
	switch {
	case have != nil:
		d.changePool(want, have)
	case len(want.RealServers) > 0:
		d.createPool(want)
	}
	d.rememberLeaving(want, have)
}

// rememberLeaving keeps what the slices say of servers on their way out, and what they last said of servers that have
// vanished but are still in the kernel (their deletion may fail and be tried again).
func (d *draft) rememberLeaving(want dataplane.Pool, have *pool) {
	leaving := slices.Clip(want.Leaving) // not to be appended to in place: it is the ledger's
	if before := d.planner.leaving[want.Key]; have != nil && len(before) > 0 {
		known := setOf(want.Leaving, want.Listed, addresses(want))
		for _, addr := range before {
			if have.reals.has(addr) && !contains(known, addr) {
				leaving = append(leaving, addr)
			}
		}
	}
	if len(leaving) == 0 {
		delete(d.planner.leaving, want.Key)
		return
	}
	d.planner.leaving[want.Key] = leaving
}

func addresses(pool dataplane.Pool) []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(pool.RealServers))
	for i, real := range pool.RealServers {
		addrs[i] = real.Addr
	}
	return addrs
}

// setOf returns the members of all lists. (A virtual server can have thousands of real servers, so that they are not
// looked for in lists one by one.)
func setOf[K comparable](lists ...[]K) map[K]struct{} {
	set := make(map[K]struct{})
	for _, list := range lists {
		for _, key := range list {
			set[key] = struct{}{}
		}
	}
	return set
}

func contains[K comparable, V any](set map[K]V, key K) bool {
	_, ok := set[key]
	return ok
}

// wants reports whether the real server is a wanted one of the pool.
func wants(pool dataplane.Pool, addr netip.AddrPort) bool {
	return slices.ContainsFunc(pool.RealServers, func(r dataplane.RealServer) bool { return r.Addr == addr })
}

// outlived reports whether a firewall-mark virtual server is no longer wanted, but some address whose packets it took
// is: connections to it may go on, though no new packet is marked. Of one that an earlier process has left nobody knows
// the addresses; that process may have had it drain.
func (d *draft) outlived(key dataplane.VirtualServerKey) bool {
	targets, known := d.planner.marked[key]
	if !known && key.Mark != 0 {
		return true
	}
	return slices.ContainsFunc(targets, func(target dataplane.VirtualServerKey) bool {
		_, wanted := d.request.Desired.Pool(target)
		return wanted
	})
}

// deletePool removes a virtual server; its real servers go with it.
func (d *draft) deletePool(have *pool) {
	d.then(serversDown, remove(have.server))
	for _, real := range have.reals {
		d.forget(have.server.Key, real.Addr)
	}
}

func (d *draft) createPool(want dataplane.Pool) {
	d.then(serversUp, add(want.VirtualServer))
	for _, real := range want.RealServers {
		d.then(serversUp, add(dataplane.Member{VirtualServer: want.Key, RealServer: real}))
	}
	d.forgetUnserved(want.Key)
}

// changePool leads from what is there to what is wanted. A virtual server stays while one of its real servers drains.
func (d *draft) changePool(want dataplane.Pool, have *pool) {
	var ups []dataplane.Operation
	wanted := make(map[netip.AddrPort]struct{}, len(want.RealServers))
	for _, real := range want.RealServers {
		wanted[real.Addr] = struct{}{}
		delete(have.unlisted, real.Addr)
		member := dataplane.Member{VirtualServer: want.Key, RealServer: real}
		if now, ok := have.reals.get(real.Addr); !ok {
			ups = append(ups, add(member))
		} else if now != real {
			ups = append(ups, edit(member)) // in place: its connections go on
		}
	}
	var downs []dataplane.Operation
	kept := len(want.RealServers)
	if !d.request.AddOnly {
		var left int
		downs, left = d.leave(want, have, wanted)
		kept += left
	} else {
		kept += len(have.reals)
	}
	if kept == 0 && !d.request.AddOnly {
		d.then(serversDown, remove(have.server)) // takes its real servers along
		return
	}
	if have.server != want.VirtualServer {
		d.then(serversUp, edit(want.VirtualServer))
	}
	d.then(serversUp, ups...)
	d.then(serversDown, downs...)
}

// leave plans the real servers that are no longer wanted and returns how many of them stay for now.
func (d *draft) leave(want dataplane.Pool, have *pool, wanted map[netip.AddrPort]struct{}) (downs []dataplane.Operation, stay int) {
	var unwanted []dataplane.RealServer
	for _, real := range have.reals {
		if !contains(wanted, real.Addr) {
			unwanted = append(unwanted, real)
		}
	}
	if len(unwanted) == 0 {
		return nil, 0
	}
	listed, gone := setOf(want.Listed), setOf(d.planner.leaving[want.Key])
	for _, real := range unwanted {
		addr, member := real.Addr, dataplane.Member{VirtualServer: want.Key, RealServer: real}
		if !d.drains(want.Key, have, real, contains(listed, addr), contains(gone, addr)) {
			downs = append(downs, remove(member))
			d.forget(want.Key, addr)
			continue
		}
		stay++
		if real.Weight != 0 {
			member.Weight = 0
			downs = append(downs, edit(member))
		}
	}
	return downs, stay
}

// drains reports whether a real server that is not wanted stays, with weight 0, for the connections it has. Listed says
// that a slice has it; gone that none has, and that it was terminating or not serving before.
func (d *draft) drains(key dataplane.VirtualServerKey, have *pool, real dataplane.RealServer, listed, gone bool) bool {
	addr := real.Addr
	if !d.planner.keepsConnections(key) {
		return false
	}
	if d.request.Ended != nil && real.Weight == 0 && d.request.Ended(key, addr) {
		return false
	}
	if listed {
		delete(have.unlisted, addr)
		return true
	}
	if gone {
		return false
	}
	since, counting := have.unlisted[addr]
	if !counting {
		if have.unlisted == nil {
			have.unlisted = make(map[netip.AddrPort]time.Time)
		}
		since = d.request.Now
		have.unlisted[addr] = since
	}
	return d.request.Now.Sub(since) < d.planner.options.DrainTimeout
}

// retarget takes note of which addresses have the mark of a virtual server. Flows by way of those that it lost are stale.
func (d *draft) retarget(want dataplane.Pool, have *pool) {
	key, before := want.Key, d.planner.targets(want.Key)
	if have != nil && !d.planner.keepsConnections(key) {
		now := setOf(want.For)
		for _, target := range before {
			if contains(now, target) {
				continue
			}
			for _, real := range have.reals {
				d.forgetAt(key, target, real.Addr)
			}
		}
	}
	d.planner.setTargets(key, want.For)
}

// forget plans the removal of conntrack entries that would go on sending packets to a deleted UDP or SCTP real server.
func (d *draft) forget(key dataplane.VirtualServerKey, addr netip.AddrPort) {
	if d.planner.keepsConnections(key) {
		return
	}
	for _, target := range d.planner.targets(key) {
		d.forgetAt(key, target, addr)
	}
}

// forgetAt is forget for one of the addresses, unless the real server stays behind that for other clients.
func (d *draft) forgetAt(key, target dataplane.VirtualServerKey, addr netip.AddrPort) {
	for _, other := range append([]dataplane.VirtualServerKey{target}, d.planner.apart[target]...) {
		if other == key {
			continue
		}
		want, _ := d.request.Desired.Pool(other)
		have := d.planner.pools[other]
		if wants(want, addr) && (other == target || have != nil && have.reals.has(addr)) {
			return
		}
	}
	d.flows[dataplane.Flows{VirtualServer: target, RealServer: addr}] = struct{}{}
}

// forgetUnserved plans the removal of conntrack entries of UDP and SCTP flows that began while nobody served: the virtual
// address is what they lead to. A client that goes on sending would keep its entry alive for ever, and with it the
// decisions of that time: no masquerading, and answers that do not find back (P09).
func (d *draft) forgetUnserved(key dataplane.VirtualServerKey) {
	if d.planner.keepsConnections(key) {
		return
	}
	for _, target := range d.planner.targets(key) {
		self := netip.AddrPortFrom(target.Addr, target.Port)
		d.flows[dataplane.Flows{VirtualServer: target, RealServer: self}] = struct{}{}
	}
}

// stillStale plans flows that could not be deleted before, unless the real server is wanted again: then they are its own.
func (d *draft) stillStale(flows dataplane.Flows) {
	if want, _ := d.request.Desired.Pool(flows.VirtualServer); !wants(want, flows.RealServer) {
		d.flows[flows] = struct{}{}
	}
}

// MayDrain reports whether Draining is worth asking: some real server has had weight 0 since it was asked last.
func (p *Planner) MayDrain() bool { return len(p.weightless) > 0 }

// Draining returns the virtual servers that have a draining real server: one with weight 0 that is not wanted.
func (p *Planner) Draining(desired Desired) []dataplane.VirtualServerKey {
	var draining []dataplane.VirtualServerKey
	for key := range p.weightless {
		if p.drainsIn(key, desired) {
			draining = append(draining, key)
		} else {
			delete(p.weightless, key)
		}
	}
	slices.SortFunc(draining, dataplane.VirtualServerKey.Compare)
	return draining
}

func (p *Planner) drainsIn(key dataplane.VirtualServerKey, desired Desired) bool {
	have := p.pools[key]
	if have == nil {
		return false
	}
	want, _ := desired.Pool(key)
	for _, real := range have.reals {
		if real.Weight == 0 && !wants(want, real.Addr) {
			return true
		}
	}
	return false
}
