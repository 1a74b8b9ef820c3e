package reconcile

import (
	"context"
	"errors"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/plan"
)

// portionSize is how many Services go to the kernel at a time while the rest is still being translated.
const portionSize = 256

// portions has the kernel work during the translation of the round that ends the start, if nearly all of it is to be added.
// What it is given is additions only, and complete for the Services it is about, except for addresses: they are the last to
// come. All else is left to the end of the round, when everything is known that is wanted.
type portions struct {
	reconciler *Reconciler
	round      *Round
	finish     func() // waits for the kernel; nil when it has nothing to do
}

// worthwhile reports whether the kernel has so little of what so many Services want that it is to begin at once. Where it
// has most of that, there is not much to add, and looking at everything twice takes longer.
func worthwhile(known dataplane.Keys, services int) bool {
	return len(known.VirtualServers) < services/2
}

// begin has the kernel carry out what can be done about the keys, and returns those that are left for the end.
func (p *portions) begin(ctx context.Context, keys dataplane.Keys) (left dataplane.Keys) {
	p.wait()
	left = dataplane.NewKeys()
	left.Addresses, keys.Addresses = keys.Addresses, left.Addresses
	operations, results := p.reconciler.planned(keys), make(chan []error, 1)
	go func() { results <- p.reconciler.kernel.Apply(ctx, operations) }()
	p.finish = func() { p.reconciler.confirm(p.round, keys, operations, <-results) }
	return left
}

// wait waits until the kernel has done what was begun, and takes note of it.
func (p *portions) wait() {
	if p.finish != nil {
		p.finish()
	}
	p.finish = nil
}

// planned returns the operations that the keys need now.
func (r *Reconciler) planned(keys dataplane.Keys) []dataplane.Operation {
	l := &r.loop
	return l.planner.Plan(plan.Request{Keys: keys, Desired: l.ledger, Now: r.options.Clock.Now(),
		AddOnly: !l.status.complete, Ended: l.ended()})
}

// apply plans the keys and has the kernel carry the operations out.
func (r *Reconciler) apply(ctx context.Context, round *Round, keys dataplane.Keys) {
	operations := r.planned(keys)
	r.loop.counted = nil
	var results []error
	if len(operations) > 0 {
		results = r.kernel.Apply(ctx, operations)
	}
	r.confirm(round, keys, operations, results)
}

// confirm takes note of the result of each operation that the keys needed.
func (r *Reconciler) confirm(round *Round, keys dataplane.Keys, operations []dataplane.Operation, results []error) {
	l, failed, failures := &r.loop, dataplane.NewKeys(), len(round.Failures)
	gone := false
	for i, err := range results {
		l.planner.Confirm(operations[i], err)
		if r.showsNoDevice(operations[i], err) {
			gone = true
		} else if err != nil {
			round.Failures = append(round.Failures, Failure{operations[i], err})
			failed.AddOf(operations[i].Object)
		}
	}
	if len(round.Operations) == 0 {
		round.Operations = operations
	} else {
		round.Operations = append(round.Operations, operations...)
	}
	l.retries.settle(keys, failed, r.options.Clock.Now())
	l.lookUp(round.Failures[failures:])
	if gone {
		r.survey.missed = true
		r.observe(dataplane.Event{Kind: dataplane.DeviceRemoved})
	}
}

// showsNoDevice reports whether an operation came upon the device missing before the kernel's event told of it. The foundation
// is to make it again, after which its addresses follow. If that fails, or they find it missing once more, they count as failed.
func (r *Reconciler) showsNoDevice(operation dataplane.Operation, err error) bool {
	if _, address := operation.Object.(dataplane.Address); !address || operation.Verb != dataplane.Add {
		return false
	}
	if err == nil {
		r.survey.missed = false
	}
	return errors.Is(err, dataplane.ErrNotExist) && !r.survey.missed && r.loop.status.foundation.failures == 0
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
