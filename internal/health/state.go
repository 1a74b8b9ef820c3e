package health

import (
	"sync"
	"time"

	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// State follows the reconciler and knows whether it keeps up. It is safe for concurrent use.
type State struct {
	clock    clock.PassiveClock
	families []dataplane.Family

	mu       sync.Mutex
	patience time.Duration
	queued   time.Time                    // when the oldest waiting change arrived; zero for none
	failing  map[reconcile.Step]time.Time // since when a step has failed
	updated  time.Time                    // when the kernel was last brought up to date
	eligible bool
}

var _ reconcile.Observer = (*State)(nil)

// NewState returns a State that calls the proxy unhealthy when a change has waited longer than patience; kube-proxy
// waits twice the sync period.
func NewState(c clock.PassiveClock, patience time.Duration, families []dataplane.Family) *State {
	// Bringing the kernel up for the first time is the first thing that waits.
	return &State{clock: c, patience: patience, families: families, queued: c.Now(), eligible: true,
		failing: make(map[reconcile.Step]time.Time)}
}

// Queued implements reconcile.Observer.
func (s *State) Queued(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued.IsZero() {
		s.queued = at
	}
}

// RoundDone implements reconcile.Observer.
func (s *State) RoundDone(round reconcile.Round) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.queued.After(round.Started) {
		s.queued = time.Time{}
	}
	s.updated = s.clock.Now()
}

// StepDone implements reconcile.Observer.
func (s *State) StepDone(step reconcile.Step, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.failing, step)
	} else if _, already := s.failing[step]; !already {
		s.failing[step] = s.clock.Now()
	}
}

// Audited implements reconcile.Observer.
func (s *State) Audited(reconcile.Audit) {}

// Problems implements reconcile.Observer; what is wrong with an object does not make the proxy unhealthy.
func (s *State) Problems(string, []service.Problem) {}

// NodeChanged implements reconcile.Observer.
func (s *State) NodeChanged(node service.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eligible = !node.Deleting && !node.Excluded
}

// SetPatience changes how long a change may wait.
func (s *State) SetPatience(patience time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patience = patience
}

// Healthy reports whether the proxy keeps up with changes, whether or not its node is about to go.
func (s *State) Healthy() bool { return s.report().healthy }

// report is what the state is at one moment.
type report struct {
	healthy, eligible bool
	now, updated      time.Time
}

func (s *State) report() report {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	healthy := s.queued.IsZero() || now.Sub(s.queued) < s.patience
	for _, since := range s.failing {
		healthy = healthy && now.Sub(since) < s.patience
	}
	return report{healthy: healthy, eligible: s.eligible, now: now, updated: s.updated}
}
