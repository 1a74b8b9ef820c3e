package reconcile

import (
	"context"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// ensureFoundation makes device, sets and rules be there, and returns what had to be repaired. A failure is reported and
// repeated; it does not keep IPVS from being programmed.
func (r *Reconciler) ensureFoundation(ctx context.Context) []string {
	repaired, err := r.kernel.EnsureFoundation(ctx, r.foundation())
	r.loop.status.foundation.done(r.options.Clock.Now(), err)
	r.observer.StepDone(StepFoundation, err)
	if len(repaired) > 0 && r.loop.status.adopted {
		// A set that was made anew is empty, and a new device has no addresses: read what there is.
		r.loop.status.snapshot.request(r.options.Clock.Now())
	}
	return repaired
}

// adoptSnapshot reads the kernel, and has the next round look at everything in it and everything desired. When the read
// fails, nothing changes: a failed read is not an empty world.
func (r *Reconciler) adoptSnapshot(ctx context.Context, repaired []string) {
	started, status := r.options.Clock.Now(), &r.loop.status
	snapshot, err := r.kernel.Snapshot(ctx)
	now := r.options.Clock.Now()
	status.snapshot.done(now, err)
	r.observer.StepDone(StepSnapshot, err)
	if err != nil {
		return
	}
	drifted := r.loop.planner.Adopt(snapshot.Objects)
	r.loop.pending.Merge(drifted)
	// Kernel and desired state are compared as a whole, rather than trusting that every change so far was noticed.
	r.loop.pending.Merge(r.loop.planner.Keys())
	r.loop.pending.Merge(r.loop.ledger.All())
	status.audit = now.Add(r.options.AuditPeriod)
	report := Audit{At: now, Duration: now.Sub(started), Repaired: repaired, Drifted: drifted.Len()}
	if !status.adopted {
		report.Drifted = 0 // at the start everything is new to us
		status.adopted = true
		status.drain.at(now.Add(drainPeriod))
	}
	r.observer.Audited(report)
}

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
		drain.waiting = false
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
