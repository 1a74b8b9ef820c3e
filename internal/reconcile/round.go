package reconcile

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
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
	starting := !l.status.complete
	round := Round{Started: l.started, Services: len(d.services), Triggered: d.triggered}
	keys := r.newKeys(ctx, d, &round)
	keys.Merge(l.pending)
	l.pending = dataplane.NewKeys()
	round.Present.Retried = l.retries.due(l.started, keys)
	r.apply(ctx, &round, keys)
	if starting && l.status.complete && !r.survey.alone {
		l.status.foundation.request(r.options.Clock.Now()) // rules that were spared until now, see takeover
	}
	round.Complete, round.Waiting, round.HealthChecks = l.status.complete, len(l.retries.objects), r.reports.checks.take()
	round.Present.NoLocal, round.Present.Draining = r.reports.noLocal.count(), r.reports.draining
	if now := r.options.Clock.Now(); !l.status.drain.waiting && l.planner.MayDrain() {
		l.status.drain.at(now.Add(drainPeriod))
	}
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

// newKeys returns the keys to look at because of what was delivered: those of which the desired state changed and, once
// every source is complete, all that the kernel has.
func (r *Reconciler) newKeys(ctx context.Context, d delivery, round *Round) dataplane.Keys {
	status := &r.loop.status
	if status.complete || !d.complete || d.more {
		return r.translate(d, keepAll)
	}
	known, ahead := r.loop.planner.Keys(), portions{reconciler: r, round: round}
	portion := keepAll
	if worthwhile(known, len(d.services)) {
		portion = func(keys dataplane.Keys) dataplane.Keys { return ahead.begin(ctx, keys) }
	}
	keys := r.translate(d, portion)
	ahead.wait()
	status.complete = true
	r.marks.inherited = nil // whoever is still there has asked for its own
	keys.Merge(known)       // from now on, what nothing wants may go
	return keys
}

func keepAll(keys dataplane.Keys) dataplane.Keys { return keys }

// translate turns the delivered Services into desired objects and returns the keys that changed. After each portion of
// Services, it goes on with those keys that the function gives back.
func (r *Reconciler) translate(d delivery, portion func(dataplane.Keys) dataplane.Keys) dataplane.Keys {
	l, keys := &r.loop, dataplane.NewKeys()
	if l.status.newFacts {
		l.ledger.Replace(ledger.Owner{Name: nodeOwner}, translate.Node(l.facts, r.options.Service), keys)
		l.status.newFacts = false
	}
	slices.SortFunc(d.services, older) // of two that want the last mark, say, the older one has it
	for i, dirty := range d.services {
		if i > 0 && i%portionSize == 0 {
			keys = portion(keys)
		}
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
		r.reports.checks.want(owner.Name, check)
		r.reports.noLocal.set(owner.Name, r.noLocalOf(dirty))
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
