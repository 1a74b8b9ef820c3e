package page

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// remembered is how many rounds, errors and repairs are kept.
const remembered = 8

// mostText bounds what is kept of an error, in bytes.
const mostText = 500

// History remembers the last things that the reconciler did. It is safe for concurrent use.
type History struct {
	clock clock.PassiveClock

	mu    sync.Mutex
	state past
}

// past is what is remembered; the lists have the latest first.
type past struct {
	Complete  bool // every source has delivered everything
	Waiting   int  // objects whose operations failed
	Draining  int  // real servers
	Drifted   int  // objects that somebody else had changed, since the start
	LastAudit time.Time
	Rounds    []round
	Troubles  []trouble
	Repairs   []repair
	Failing   []string // steps of the whole node that failed when they were last tried, and why
	failing   map[reconcile.Step]string
}

type round struct {
	Started                        time.Time
	Duration                       time.Duration
	Services, Operations, Failures int
}

// trouble is an error.
type trouble struct {
	At   time.Time
	Text string
}

// repair is an audit that found something.
type repair struct {
	At      time.Time
	Drifted int
	Parts   []string
}

var _ reconcile.Observer = (*History)(nil)

// NewHistory returns a History of nothing.
func NewHistory(c clock.PassiveClock) *History {
	return &History{clock: c, state: past{failing: make(map[reconcile.Step]string)}}
}

// look returns what is remembered.
func (h *History) look() past {
	h.mu.Lock()
	defer h.mu.Unlock()
	copied := h.state
	copied.Rounds, copied.Troubles = slices.Clone(h.state.Rounds), slices.Clone(h.state.Troubles)
	copied.Repairs, copied.failing = slices.Clone(h.state.Repairs), nil
	for _, step := range slices.Sorted(maps.Keys(h.state.failing)) {
		copied.Failing = append(copied.Failing, h.state.failing[step])
	}
	return copied
}

// latest puts one thing before the others and forgets the oldest.
func latest[T any](one T, others []T) []T {
	return append([]T{one}, others[:min(len(others), remembered-1)]...)
}

// Queued implements reconcile.Observer.
func (h *History) Queued(time.Time) {}

// RoundDone implements reconcile.Observer.
func (h *History) RoundDone(done reconcile.Round) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.state
	s.Complete, s.Waiting, s.Draining = done.Complete, done.Waiting, done.Present.Draining
	s.Rounds = latest(round{done.Started, done.Duration, done.Services, len(done.Operations), len(done.Failures)}, s.Rounds)
	for _, failure := range done.Failures[:min(len(done.Failures), remembered)] {
		h.add(failure.Error())
	}
}

// add remembers an error, with the lock held.
func (h *History) add(text string) {
	if len(text) > mostText {
		text = strings.ToValidUTF8(text[:mostText], "") + "…"
	}
	h.state.Troubles = latest(trouble{h.clock.Now(), text}, h.state.Troubles)
}

// StepDone implements reconcile.Observer. A step that goes on failing for the same reason is told once.
func (h *History) StepDone(step reconcile.Step, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.state.failing, step)
		return
	}
	if text := fmt.Sprintf("%s: %v", step, err); h.state.failing[step] != text {
		h.state.failing[step] = text
		h.add(text)
	}
}

// Audited implements reconcile.Observer.
func (h *History) Audited(audit reconcile.Audit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.LastAudit = audit.At
	h.state.Drifted += audit.Drifted
	if audit.Drifted > 0 || len(audit.Repaired) > 0 {
		h.state.Repairs = latest(repair{audit.At, audit.Drifted, slices.Clone(audit.Repaired)}, h.state.Repairs)
	}
}

// Problems implements reconcile.Observer; what is wrong with an object is an Event and a metric.
func (h *History) Problems(string, []service.Problem) {}

// NodeChanged implements reconcile.Observer.
func (h *History) NodeChanged(service.Node) {}
