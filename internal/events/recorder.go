package events

import (
	"context"
	"slices"
	"sync"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// The bounds of what is kept. See the package comment for their purpose.
const (
	mostWaiting   = 1000
	mostPerReport = 8
)

// Client creates Events. Its errors are those of the API server.
type Client interface {
	CreateEvent(context.Context, *eventsv1.Event) error
}

// Options are what a Recorder needs. All are required.
type Options struct {
	Client Client
	Node   string // the node's name, which Events carry as their reporting instance
	Clock  clock.Clock
	// Random returns numbers from 0 to below 1, different ones on each node.
	Random func() float64
	// Log gets a message with keys and values, as zap's SugaredLogger.Warnw does.
	Log func(message string, keysAndValues ...any)
}

// Recorder is an observer that makes Events of what is wrong with Services. Its methods may be called from several
// goroutines and do not wait for anything.
type Recorder struct {
	options Options
	arrived chan struct{} // something waits

	mu      sync.Mutex
	known   map[string][]notice // what is wrong at present, by the object it is filed under
	waiting []waiting
	counts  map[Outcome]uint64
}

// waiting is a notice that has not been told yet.
type waiting struct {
	notice
	since time.Time
}

// Outcome is what became of a problem.
type Outcome string

// The outcomes.
const (
	Created  Outcome = "created"  // the Event is there, by this node
	Existing Outcome = "existing" // another node had created it, or this one an earlier time
	Refused  Outcome = "refused"  // the daemon's account may not create Events, or the API server does not take this one
	Failed   Outcome = "failed"   // the API server did not answer, which is tried again
	Dropped  Outcome = "dropped"  // too many waited, or it waited too long while others were quicker
)

var _ reconcile.Observer = (*Recorder)(nil)

// New returns a Recorder. Nothing is told until Run is called.
func New(options Options) *Recorder {
	return &Recorder{options: options, arrived: make(chan struct{}, 1), known: make(map[string][]notice),
		counts: map[Outcome]uint64{Created: 0, Existing: 0, Refused: 0, Failed: 0, Dropped: 0}}
}

// Counts returns how often each outcome has been had.
func (r *Recorder) Counts() map[string]float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]float64, len(r.counts))
	for outcome, n := range r.counts {
		out[string(outcome)] = float64(n)
	}
	return out
}

// Problems implements reconcile.Observer: what is new will be told, and what is no problem any more will not.
func (r *Recorder) Problems(object string, problems []service.Problem) {
	now := noticesOf(problems)
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.known[object]
	if len(before)+len(now) == 0 {
		return
	}
	delete(r.known, object)
	if len(now) > 0 {
		r.known[object] = now
	}
	for _, n := range before {
		if !slices.ContainsFunc(now, n.same) {
			r.remove(n)
		}
	}
	for _, n := range now {
		if slices.ContainsFunc(before, n.same) {
			r.reword(n)
		} else {
			r.add(n)
		}
	}
}

// add has a notice told. The lock is held.
func (r *Recorder) add(n notice) {
	if len(r.waiting) >= mostWaiting {
		r.counts[Dropped]++
		return
	}
	r.waiting = append(r.waiting, waiting{n, r.options.Clock.Now()})
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}

// reword has a notice that waits told in its present words. The lock is held.
func (r *Recorder) reword(n notice) {
	if i := slices.IndexFunc(r.waiting, func(w waiting) bool { return w.same(n) }); i >= 0 {
		r.waiting[i].notice = n
	}
}

// remove has a notice told no more. The lock is held.
func (r *Recorder) remove(n notice) {
	r.waiting = slices.DeleteFunc(r.waiting, func(w waiting) bool { return w.same(n) })
}

// Queued implements reconcile.Observer.
func (r *Recorder) Queued(time.Time) {}

// RoundDone implements reconcile.Observer.
func (r *Recorder) RoundDone(reconcile.Round) {}

// StepDone implements reconcile.Observer.
func (r *Recorder) StepDone(reconcile.Step, error) {}

// Audited implements reconcile.Observer.
func (r *Recorder) Audited(reconcile.Audit) {}

// NodeChanged implements reconcile.Observer.
func (r *Recorder) NodeChanged(service.Node) {}
