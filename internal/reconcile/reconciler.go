package reconcile

import (
	"context"
	"net/netip"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/plan"
	"kube-ipvs-proxy/internal/service"
	"kube-ipvs-proxy/internal/translate"
)

// Reconciler keeps one kernel equal to what its sources say. Create it with New, add sources, then Run it once.
type Reconciler struct {
	kernel   kernel.Kernel
	options  Options
	observer Observer
	inbox    *inbox
	calls    calls
	loop     loop
	survey   survey
	marks    *marks // touched by Run's goroutine only, too
	reports  reports
	podCIDRs podCIDRs
}

// calls are what Run's goroutine is asked for by others.
type calls struct {
	wake    chan struct{}            // a source has delivered something
	views   chan chan<- moment       // see View
	servers chan chan<- ledger.Owned // see Servers
	adjust  chan Adjustment          // see Adjust
}

// loop is the state that only Run's goroutine touches.
type loop struct {
	facts   service.Facts
	ledger  *ledger.Ledger
	planner *plan.Planner
	retries *retries
	// pending are keys that the next round has to look at, besides those that translating yields.
	pending dataplane.Keys
	// counted are the connections of draining real servers, if the next round is to use them.
	counted   map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32
	conflicts conflicts
	status    status
	started   time.Time              // of the last round
	events    <-chan dataplane.Event // nil while there is no subscription
}

// status is what concerns the whole node: steps that are due, and what has been reached since the start.
type status struct {
	subscription, foundation, snapshot, drain step

	addresses addressStep
	audit     time.Time // when the next one is due
	adopted   bool      // a snapshot has been adopted
	located   bool      // the node's addresses have been read
	newFacts  bool      // the node's own objects have to be translated
	complete  bool      // every source is, and all of it has been translated: deletions are allowed
}

// New returns a Reconciler of the given kernel. The observer hears of everything.
func New(k kernel.Kernel, options Options, observer Observer) *Reconciler {
	r := &Reconciler{kernel: k, options: options, observer: observer,
		calls: calls{wake: make(chan struct{}, 1), views: make(chan chan<- moment), servers: make(chan chan<- ledger.Owned),
			adjust: make(chan Adjustment)},
		survey: survey{outcome: make(chan func())}, reports: newReports()}
	r.inbox = &inbox{notify: r.changed, problems: observer.Problems, node: service.Node{Name: options.NodeName},
		started: options.Clock.Now()}
	r.loop = loop{
		facts:  service.Facts{Families: options.Families, Bind: options.Bind, Node: service.Node{Name: options.NodeName}},
		ledger: ledger.New(translate.Exceptions()),
		planner: plan.New(plan.Options{DrainTimeout: options.DrainTimeout, Ours: r.isOurs,
			Exceptions: translate.Exceptions(), Refusals: translate.Refusals()}),
		retries:   newRetries(),
		pending:   dataplane.NewKeys(),
		conflicts: newConflicts(),
	}
	r.marks = newMarks(options.Service, r.loop.planner.HasMark)
	return r
}

// Source adds an origin of objects and returns where it delivers them. Its objects count once it has completed each of
// the parts. Every source must be added before Run.
func (r *Reconciler) Source(name string, parts ...string) service.Sink {
	s := &source{inbox: r.inbox, name: name, catalog: service.NewCatalog(), awaited: make(map[string]struct{}),
		dirty: make(map[service.Name]pending)}
	for _, part := range parts {
		s.awaited[part] = struct{}{}
	}
	r.inbox.sources = append(r.inbox.sources, s)
	return s
}

// changed wakes the loop; it is called when a source has delivered something that counts.
func (r *Reconciler) changed() {
	r.observer.Queued(r.options.Clock.Now())
	select {
	case r.calls.wake <- struct{}{}:
	default:
	}
}

// Run works until the context ends. Nothing is removed from the kernel when it does: the next process adopts it.
func (r *Reconciler) Run(ctx context.Context) {
	now, status := r.options.Clock.Now(), &r.loop.status
	for _, step := range []*step{&status.subscription, &status.foundation, &status.snapshot, &status.addresses.step} {
		step.request(now)
	}
	for ctx.Err() == nil {
		timer := r.options.Clock.NewTimer(r.work(ctx))
		select {
		case <-ctx.Done():
		case <-r.calls.wake:
		case <-timer.C():
		case event, ok := <-r.loop.events:
			r.hear(event, ok)
		case finish := <-r.survey.outcome:
			finish()
		case answer := <-r.calls.views:
			answer <- r.look()
		case answer := <-r.calls.servers:
			answer <- r.loop.ledger.OwnedPools()
		case to := <-r.calls.adjust:
			r.adjust(to)
		}
		timer.Stop()
	}
	if r.survey.running != "" {
		<-r.survey.outcome // of no use any more, but the kernel is in use until then
	}
}

// hear takes note of an event and of those that wait behind it: one round is enough for a burst, of which the addresses
// that the proxy itself just bound are one.
func (r *Reconciler) hear(event dataplane.Event, ok bool) {
	for ok {
		r.observe(event)
		select {
		case event, ok = <-r.loop.events:
		default:
			return
		}
	}
	// Without a subscription there is nothing to hear, and it is due again.
	r.loop.events = nil
	r.loop.status.subscription.at(r.options.Clock.Now().Add(backoffFirst))
}

// subscribe asks for kernel events. Without them the audit finds what changed, only later; so a failure is reported and
// repeated, and holds up nothing else.
func (r *Reconciler) subscribe(ctx context.Context) {
	events, err := r.kernel.Subscribe(ctx)
	r.loop.status.subscription.done(r.options.Clock.Now(), err)
	r.observer.StepDone(StepSubscribe, err)
	if err != nil {
		return
	}
	r.loop.events = events
	r.observe(dataplane.Event{Kind: dataplane.Overrun}) // nobody listened until now
}

// observe takes note of a change that somebody made to addresses, so that the next round repairs it.
func (r *Reconciler) observe(event dataplane.Event) {
	now, l := r.options.Clock.Now(), &r.loop
	switch event.Kind {
	case dataplane.BoundAddressAdded, dataplane.BoundAddressRemoved:
		l.planner.ObserveAddress(event.Addr, event.Kind == dataplane.BoundAddressAdded)
		l.pending.Addresses[event.Addr] = struct{}{}
	case dataplane.DeviceRemoved:
		l.planner.ObserveDeviceGone()
		clear(l.pending.Addresses) // they would fail; when the device is back, all are looked at
		l.status.foundation.at(now)
		r.survey.founded = false // a snapshot before there is a device would fail
	case dataplane.NodeAddressesChanged:
		l.status.addresses.request(now)
	case dataplane.Overrun:
		l.status.addresses.request(now)
		l.status.foundation.request(now)
		l.status.snapshot.request(now)
	}
}

// work does everything that is due and returns for how long there is nothing more to do.
func (r *Reconciler) work(ctx context.Context) time.Duration {
	if wait := r.awaitPodCIDRs(); wait > 0 {
		return wait
	}
	r.prepare(ctx)
	if !r.loop.status.adopted || !r.loop.status.located {
		return r.untilNext()
	}
	// Nothing is to wait at the start, where the rounds before the sources are complete have next to nothing to do.
	if wait := r.loop.started.Add(r.options.MinPeriod).Sub(r.options.Clock.Now()); wait > 0 && r.loop.status.complete {
		return wait
	}
	for r.round(ctx) && ctx.Err() == nil {
	}
	return r.untilNext()
}

// prepare does what is due of the steps that concern the whole node.
func (r *Reconciler) prepare(ctx context.Context) {
	status, clock := &r.loop.status, r.options.Clock
	if status.adopted && !clock.Now().Before(status.audit) {
		status.audit = clock.Now().Add(r.options.Audits.Period)
		r.requestAudit()
	}
	if status.subscription.begin(clock.Now()) {
		r.subscribe(ctx)
	}
	r.startSurvey(ctx)
	if status.addresses.begin(clock.Now()) {
		r.readAddresses(ctx)
	}
	if status.drain.begin(clock.Now()) {
		r.countDrains(ctx)
	}
}

// untilNext returns the time until the earliest thing that is due.
func (r *Reconciler) untilNext() time.Duration {
	s := &r.loop.status
	next := r.options.Clock.Now().Add(r.options.Audits.Period)
	steps := []*step{&s.subscription, &s.addresses.step, &s.drain}
	if r.survey.running == "" { // else its end is what they wait for
		steps = append(steps, &s.foundation, &s.snapshot)
	}
	for _, step := range steps {
		if step.waiting && step.due.Before(next) {
			next = step.due
		}
	}
	if s.adopted && s.audit.Before(next) {
		next = s.audit
	}
	if at, any := r.loop.retries.next(); any && at.Before(next) {
		next = at
	}
	return max(next.Sub(r.options.Clock.Now()), 0)
}
