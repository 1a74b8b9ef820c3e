package reconcile

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// addressPatience is how long an address that vanished from the node still counts as one of its own. While an interface is
// configured anew its addresses are gone for a moment; connections to NodePorts there survive that, but not that their
// virtual servers are deleted and made again.
const addressPatience = 10 * time.Second

// addressStep is the reading of the node's addresses.
type addressStep struct {
	step
	gone map[netip.Addr]time.Time // since when addresses that still count have been gone
}

// linger returns the addresses found and those of before that vanished a short while ago, sorted, and has another look taken
// at the end of that time.
func (a *addressStep) linger(found, before []netip.Addr, now time.Time) []netip.Addr {
	gone, all := make(map[netip.Addr]time.Time), slices.Clone(found)
	for _, addr := range before {
		if slices.Contains(found, addr) {
			continue
		}
		since, known := a.gone[addr]
		if !known {
			since = now
		}
		if end := since.Add(addressPatience); now.Before(end) {
			gone[addr], all = since, append(all, addr)
			if !a.waiting || end.Before(a.due) {
				a.at(end)
			}
		}
	}
	a.gone = gone
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// readAddresses learns the node's own addresses. When the read fails, those known before go on to be used.
func (r *Reconciler) readAddresses(ctx context.Context) {
	found, err := r.kernel.NodeAddresses(ctx)
	now := r.options.Clock.Now()
	r.loop.status.addresses.done(now, err)
	r.observer.StepDone(StepAddresses, err)
	if err != nil {
		return
	}
	var addrs []netip.Addr
	for _, addr := range found {
		if slices.Contains(r.options.Families, dataplane.FamilyOf(addr.Addr)) {
			addrs = append(addrs, addr.Addr)
		}
	}
	addrs = r.loop.status.addresses.linger(addrs, r.loop.facts.Local, now)
	if !r.loop.status.located || !slices.Equal(addrs, r.loop.facts.Local) {
		r.loop.facts.Local = addrs
		r.factsChanged()
	}
	r.loop.status.located = true
}

// factsChanged has every Service translated again: its meaning depends on the node.
func (r *Reconciler) factsChanged() {
	r.loop.facts.NodePortAddrs = r.options.NodePorts.Select(r.loop.facts)
	r.inbox.touchAll()
	r.loop.status.newFacts = true
}

// sameFacts reports whether two states of the Node object mean the same for Services: its being deleted or excluded from
// load balancing concerns health only.
func sameFacts(a, b service.Node) bool {
	return a.Name == b.Name && a.Zone == b.Zone && slices.Equal(a.Addresses, b.Addresses) &&
		slices.Equal(a.PodCIDRs, b.PodCIDRs)
}

// countDrains looks whether the connections of draining real servers have ended, and has the next round plan their
// virtual servers.
func (r *Reconciler) countDrains(ctx context.Context) {
	started, drain := r.options.Clock.Now(), &r.loop.status.drain
	draining := r.loop.planner.Draining(r.loop.ledger)
	r.reports.draining = len(r.loop.planner.Drains(r.loop.ledger))
	if len(draining) == 0 {
		drain.done(started, nil)
		r.observer.StepDone(StepDrain, nil)
		return
	}
	for _, key := range draining {
		r.loop.pending.VirtualServers[key] = struct{}{} // in any case: a deadline may have passed
	}
	connections, err := r.kernel.Connections(ctx, draining)
	now := r.options.Clock.Now()
	drain.done(now, err)
	r.observer.StepDone(StepDrain, err)
	if err == nil {
		drain.at(now.Add(max(drainPeriod, drainRest*now.Sub(started))))
		r.loop.counted = connections
	}
}
