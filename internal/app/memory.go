package app

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// After the start there is little garbage: what a change leaves behind does not grow with the cluster. So the heap may be
// kept tighter than Go's default of twice what lives, and what reading everything once took goes back to the system.
const (
	settledAfter   = 10 * time.Second // from the first complete round on
	settledPercent = 50               // of the living heap, as garbage before it is collected
)

// keepSmallPages has the kernel leave the process's memory in small pages. Where huge ones are the default, it goes on making
// them out of what the heap has given back, and the resident memory of an idle process grows by half.
func keepSmallPages() error {
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("switch transparent huge pages off for this process: %w; it will take more memory", err)
	}
	return nil
}

// thrift is the observer that gives memory back once the start is over. GOGC, if set, is left as it is.
type thrift struct {
	after func(time.Duration, func()) clock.Timer
	once  sync.Once
}

func newThrift(clock clock.WithDelayedExecution) *thrift { return &thrift{after: clock.AfterFunc} }

// RoundDone implements reconcile.Observer.
func (t *thrift) RoundDone(round reconcile.Round) {
	if !round.Complete {
		return
	}
	t.once.Do(func() {
		t.after(settledAfter, func() {
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(settledPercent)
			}
			debug.FreeOSMemory()
		})
	})
}

// Queued implements reconcile.Observer.
func (*thrift) Queued(time.Time) {}

// StepDone implements reconcile.Observer.
func (*thrift) StepDone(reconcile.Step, error) {}

// Audited implements reconcile.Observer.
func (*thrift) Audited(reconcile.Audit) {}

// Problems implements reconcile.Observer.
func (*thrift) Problems(string, []service.Problem) {}

// NodeChanged implements reconcile.Observer.
func (*thrift) NodeChanged(service.Node) {}
