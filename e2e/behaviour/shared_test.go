package behaviour

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
)

// Tests that neither restart the daemon nor need flags of their own share one cluster: on an emulated machine each
// takes seconds to build.
var shared struct {
	once  sync.Once
	scene *scene
	owner *owner
}

func TestMain(m *testing.M) {
	status := m.Run()
	if shared.owner != nil && !shared.owner.end(status != 0) {
		status = 1
	}
	if err := cluster.Clean(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// sharedScene returns the shared cluster, which the first test to ask for it builds. Topology changes need its lock.
func sharedScene(t *testing.T) *scene {
	t.Helper()
	cluster.Require(t)
	shared.once.Do(func() {
		shared.owner = &owner{TB: t}
		shared.scene = newSceneOf(shared.owner)
		shared.owner.TB = nil
	})
	if shared.scene == nil {
		t.Fatal("the shared cluster could not be built; the first test that needed it says why")
	}
	return shared.scene
}

// owner stands in for the test that everything in the shared cluster belongs to: it is that test while the cluster is built,
// and cleans up when all tests have ended.
type owner struct {
	testing.TB // nil once the cluster is built
	cleanups   []func()
	failed     bool
}

// end cleans up and reports whether that went well.
func (o *owner) end(failed bool) (clean bool) {
	before := o.failed
	o.failed = o.failed || failed
	for _, f := range slices.Backward(o.cleanups) {
		f()
	}
	return o.failed == (before || failed)
}

// Cleanup calls f when all tests have ended.
func (o *owner) Cleanup(f func()) { o.cleanups = append(o.cleanups, f) }

// Context is alive until the process ends.
func (o *owner) Context() context.Context { return context.Background() }

// Helper does nothing once the test that it belongs to has ended.
func (o *owner) Helper() {}

// Failed reports whether any test has.
func (o *owner) Failed() bool { return o.failed || o.TB != nil && o.TB.Failed() }

// Logf prints to the test or, after it, to standard error.
func (o *owner) Logf(format string, arguments ...any) {
	if o.TB != nil {
		o.TB.Logf(format, arguments...)
		return
	}
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
}

// Errorf fails the test or, after it, the run.
func (o *owner) Errorf(format string, arguments ...any) {
	if o.TB != nil {
		o.TB.Errorf(format, arguments...)
		return
	}
	o.failed = true
	fmt.Fprintf(os.Stderr, "clean up the shared cluster: "+format+"\n", arguments...)
}

// Error is Errorf without a format.
func (o *owner) Error(arguments ...any) { o.Errorf("%s", fmt.Sprint(arguments...)) }
