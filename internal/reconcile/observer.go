package reconcile

import (
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// Observer is told what the reconciler does. Its methods are called from the reconciler's goroutine, except Queued and
// Problems, which sources call; they must not block.
type Observer interface {
	// Queued: a change arrived that the next round will apply.
	Queued(at time.Time)
	// RoundDone: a round ended. The kernel answered, whatever became of single operations.
	RoundDone(Round)
	// StepDone: a step was tried; it will be tried again if it failed.
	StepDone(step Step, err error)
	// Audited: the whole kernel was compared with the whole desired state.
	Audited(Audit)
	// Problems replaces what is known to be wrong with an object; none clears it.
	Problems(object string, problems []service.Problem)
	// NodeChanged: the node's own object changed.
	NodeChanged(service.Node)
}

// Step is a part of the reconciler's work that concerns the whole node.
type Step string

// The steps.
const (
	StepSubscribe  Step = "subscribe"
	StepFoundation Step = "foundation"
	StepSnapshot   Step = "snapshot"
	StepAddresses  Step = "node addresses"
	StepDrain      Step = "drain"
)

// Round is the report of one round.
type Round struct {
	Started    time.Time
	Duration   time.Duration
	Services   int // translated
	Operations []dataplane.Operation
	Failures   []Failure
	// Waiting is the number of objects whose operations failed and will be tried again.
	Waiting int
	// Triggered are the endpoint changes that this round applied, where it is known when they were made.
	Triggered []Trigger
	// Complete: every source has delivered everything, and deletions are allowed.
	Complete bool
	// HealthChecks are the healthCheckNodePorts that this round added, changed or removed.
	HealthChecks []HealthCheck
	Present      Present
}

// Present is what there is at the end of a round.
type Present struct {
	NoLocal  map[NoLocal]int // Services that have no endpoint here, by the way in which
	Draining int             // real servers, when connections were last counted
	Retried  int             // objects that this round looked at because an operation had failed
}

// Trigger is an endpoint change.
type Trigger struct {
	Family dataplane.Family // 0 for a slice without endpoints, of which it is not known
	At     time.Time
}

// triggerOf says when a slice changed.
func triggerOf(slice service.Slice) Trigger {
	t := Trigger{At: slice.Triggered}
	if len(slice.Endpoints) > 0 {
		t.Family = dataplane.FamilyOf(slice.Endpoints[0].Addr)
	}
	return t
}

// Failure is an operation that did not succeed.
type Failure struct {
	Operation dataplane.Operation
	Err       error
}

// Error names the operation as the command an operator would type, and the reason.
func (f Failure) Error() string { return f.Operation.String() + ": " + f.Err.Error() }

// Unwrap returns the reason.
func (f Failure) Unwrap() error { return f.Err }

// Audit is the report of one comparison of the whole kernel with the whole desired state.
type Audit struct {
	At       time.Time
	Duration time.Duration
	// Repaired are the parts of the foundation (device, sets, rules) that had to be put right.
	Repaired []string
	// Drifted is the number of objects that somebody else had changed.
	Drifted int
}

// Observers passes everything on to each of several observers.
type Observers []Observer

var _ Observer = Observers(nil)

// Queued implements Observer.
func (o Observers) Queued(at time.Time) {
	for _, each := range o {
		each.Queued(at)
	}
}

// RoundDone implements Observer.
func (o Observers) RoundDone(round Round) {
	for _, each := range o {
		each.RoundDone(round)
	}
}

// StepDone implements Observer.
func (o Observers) StepDone(step Step, err error) {
	for _, each := range o {
		each.StepDone(step, err)
	}
}

// Audited implements Observer.
func (o Observers) Audited(audit Audit) {
	for _, each := range o {
		each.Audited(audit)
	}
}

// Problems implements Observer.
func (o Observers) Problems(object string, problems []service.Problem) {
	for _, each := range o {
		each.Problems(object, problems)
	}
}

// NodeChanged implements Observer.
func (o Observers) NodeChanged(node service.Node) {
	for _, each := range o {
		each.NodeChanged(node)
	}
}
