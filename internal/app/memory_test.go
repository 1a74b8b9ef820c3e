package app

import (
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-ipvs-proxy/internal/reconcile"
)

// Memory goes back once, some time after the first complete round, and GOGC decides if it is set.
func TestMemoryGoesBackAfterTheStart(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for _, gogc := range []string{"", "100"} {
		t.Setenv("GOGC", gogc)
		now := clocktesting.NewFakeClock(time.Now())
		thrift := newThrift(now)
		thrift.RoundDone(reconcile.Round{})
		if now.HasWaiters() {
			t.Error("before the sources are complete")
		}
		for range 3 {
			thrift.RoundDone(reconcile.Round{Complete: true})
		}
		if waiters := now.Waiters(); waiters != 1 {
			t.Errorf("%d times", waiters)
		}
		now.Step(settledAfter + time.Millisecond)
		want := map[string]int{"": settledPercent, "100": 100}[gogc]
		if got := debug.SetGCPercent(100); got != want {
			t.Errorf("GOGC=%q: %d percent, want %d", gogc, got, want)
		}
	}
}

func TestSmallPagesAreKept(t *testing.T) {
	if err := keepSmallPages(); err != nil {
		t.Fatal(err)
	}
	off, err := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0)
	if err != nil || off != 1 {
		t.Errorf("PR_GET_THP_DISABLE: %d, %v", off, err)
	}
}
