package reconcile

import (
	"context"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// readAddresses learns the node's own addresses. When the read fails, those known before go on to be used.
func (r *Reconciler) readAddresses(ctx context.Context) {
	found, err := r.kernel.NodeAddresses(ctx)
	r.loop.status.addresses.done(r.options.Clock.Now(), err)
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
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
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
