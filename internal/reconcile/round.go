package reconcile

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/plan"
	"kube-ipvs-proxy/internal/service"
	"kube-ipvs-proxy/internal/translate"
)

// urgent Services are applied in a round before all others: the rest of the node depends on them.
func urgent(name service.Name) bool {
	return name == service.Name{Namespace: "default", Name: "kubernetes"} ||
		name.Namespace == "kube-system" && (name.Name == "kube-dns" || name.Name == "coredns")
}

// round brings everything that is due to the kernel, and reports whether there is more to do at once.
func (r *Reconciler) round(ctx context.Context) bool {
	l := &r.loop
	l.started = r.options.Clock.Now()
	var first func(service.Name) bool
	if !l.status.complete {
		first = urgent
	}
	d := r.inbox.fetch(first)
	if d.nodeDirty && r.nodeChanged(d.node, d.others) {
		d.more = true // the Services that were not fetched just now mean something else, too
	}
	keys := r.translate(d)
	keys.Merge(l.pending)
	l.pending = dataplane.NewKeys()
	l.retries.due(l.started, keys)
	if !l.status.complete && d.complete && !d.more {
		l.status.complete = true
		r.marks.inherited = nil      // whoever is still there has asked for its own
		keys.Merge(l.planner.Keys()) // from now on, what nothing wants may go
	}
	round := r.apply(ctx, keys)
	round.Started, round.Services, round.Triggered = l.started, len(d.services), d.triggered
	round.HealthChecks = r.checks.take()
	round.Duration = r.options.Clock.Since(l.started)
	r.observer.RoundDone(round)
	fed := r.marks.fed()
	r.inbox.touch(fed)
	return d.more || len(fed) > 0
}

// nodeChanged takes over what the Node objects, its own and the others, say and reports whether Services mean something else now.
func (r *Reconciler) nodeChanged(node service.Node, others []netip.Addr) bool {
	r.observer.NodeChanged(node)
	before := r.loop.facts.Node
	// A Node that was just registered, anew perhaps, lacks these until a controller fills them in: no news, not none.
	if len(node.Addresses) == 0 {
		node.Addresses = before.Addresses
	}
	if len(node.PodCIDRs) == 0 {
		node.PodCIDRs = before.PodCIDRs
	}
	r.loop.facts.Node = node
	if r.options.Service.Masquerade.Local.NodeCIDRs && !slices.Equal(before.PodCIDRs, node.PodCIDRs) {
		r.loop.status.foundation.request(r.options.Clock.Now()) // the rules name them
	}
	moved := !slices.Equal(r.loop.facts.OtherNodes, others)
	r.loop.facts.OtherNodes = others
	if sameFacts(before, node) && !moved {
		return false
	}
	r.factsChanged()
	return true
}

// translate turns the delivered Services into desired objects and returns the keys that changed.
func (r *Reconciler) translate(d delivery) dataplane.Keys {
	l, keys := &r.loop, dataplane.NewKeys()
	if l.status.newFacts {
		l.ledger.Replace(ledger.Owner{Name: "node"}, translate.Node(l.facts, r.options.Service), keys)
		l.status.newFacts = false
	}
	slices.SortFunc(d.services, older) // of two that want the last mark, say, the older one has it
	for _, dirty := range d.services {
		owner := ledger.Owner{Name: ownerName(dirty.source, dirty.name), Created: dirty.view.Created}
		var objects dataplane.Objects
		markOf, done := r.marks.lease(owner, dirty.view.Ports)
		if dirty.exists {
			var problems []service.Problem
			objects, problems = translate.Service(dirty.view, l.facts, r.options.Service, markOf)
			r.observer.Problems(translated(dirty), inObject(dirty.view.UID, problems))
		} else {
			r.observer.Problems(translated(dirty), nil)
		}
		done()
		check := r.healthCheck(dirty)
		r.replace(owner, r.reserve(objects, check), keys)
		r.checks.want(owner.Name, check)
	}
	r.reportConflicts()
	return keys
}

// older orders Services by precedence. Those that are gone come first: they make room.
func older(a, b dirtyView) int {
	if order := a.view.Created.Compare(b.view.Created); order != 0 {
		return order
	}
	return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.name.Namespace, b.name.Namespace), cmp.Compare(a.name.Name, b.name.Name))
}

// inObject marks problems as those of an API object.
func inObject(uid string, problems []service.Problem) []service.Problem {
	for i := range problems {
		problems[i].UID = uid
	}
	return problems
}

// translated names the object that problems found while translating are filed under, apart from those that the source
// found in the object itself, and from those of a Service of the same name in another source.
func translated(d dirtyView) string {
	return "Service " + d.name.String() + " of source " + d.source + " on this node"
}

// apply plans the keys, has the kernel carry the operations out, and takes note of each result.
func (r *Reconciler) apply(ctx context.Context, keys dataplane.Keys) Round {
	l := &r.loop
	operations := l.planner.Plan(plan.Request{Keys: keys, Desired: l.ledger, Now: r.options.Clock.Now(),
		AddOnly: !l.status.complete, Ended: l.ended()})
	l.counted = nil
	round := Round{Operations: operations, Complete: l.status.complete}
	failed := dataplane.NewKeys()
	if len(operations) > 0 {
		for i, err := range r.kernel.Apply(ctx, operations) {
			l.planner.Confirm(operations[i], err)
			if err == nil {
				continue
			}
			round.Failures = append(round.Failures, Failure{operations[i], err})
			failed.AddOf(operations[i].Object)
		}
	}
	now := r.options.Clock.Now()
	l.retries.settle(keys, failed, now)
	l.lookUp(round.Failures)
	round.Waiting = len(l.retries.objects)
	if !l.status.drain.waiting && l.planner.MayDrain() {
		l.status.drain.at(now.Add(drainPeriod))
	}
	return round
}

// lookUp has the kernel read when operations with an unknown outcome are tried again: what they left behind may be wanted
// by nobody by then. Not before that, since reading the kernel leads to another try at once.
func (l *loop) lookUp(failures []Failure) {
	for _, failure := range failures {
		if errors.Is(failure.Err, dataplane.ErrUnknown) {
			l.status.snapshot.by(l.retries.dueOf(failure.Operation.Object))
		}
	}
}

// ended tells the planner which draining real servers have no connections any more, if they were counted just now.
func (l *loop) ended() func(dataplane.VirtualServerKey, netip.AddrPort) bool {
	if l.counted == nil {
		return nil
	}
	counted := l.counted
	return func(key dataplane.VirtualServerKey, addr netip.AddrPort) bool {
		server, known := counted[key]
		if !known {
			return false
		}
		connections, known := server[addr]
		return known && connections == 0
	}
}
