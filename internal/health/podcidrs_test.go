package health_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/health"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// said keeps the last error of each step beside the health.
type said struct {
	*health.State
	of map[reconcile.Step]error
}

func (s said) StepDone(step reconcile.Step, err error) {
	s.of[step] = err
	s.State.StepDone(step, err)
}

// status is what a path is answered with.
func (s said) status(path string) int {
	answer := httptest.NewRecorder()
	s.Handler(nil).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer.Code
}

// B50: under detectLocalMode NodeCIDR nothing is programmed before the Node has podCIDRs. That is not healthy for longer
// than any other start may take, whether or not changes come in meanwhile; what is missing is said; and it is over once the
// Node has them, or has been waited for long enough.
func TestB50UnhealthyWhileTheNodeHasNoPodCIDRs(t *testing.T) {
	for _, given := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			state := said{health.NewState(clock.RealClock{}, patience, dataplane.Families()), make(map[reconcile.Step]error)}
			source := awaitingPodCIDRs(t, state)
			expect := func(after time.Duration, want int) {
				t.Helper()
				time.Sleep(after)
				synctest.Wait()
				for _, path := range []string{"/healthz", "/livez"} {
					if got := state.status(path); got != want {
						t.Errorf("%s answers %d, want %d: %v", path, got, want, state.of)
					}
				}
			}
			expect(patience-time.Second, http.StatusOK)
			source.SetNode(service.Node{Name: "node-1", Zone: "moved"})
			expect(time.Second, http.StatusServiceUnavailable)
			if err := state.of[reconcile.StepFoundation]; err == nil || !strings.Contains(err.Error(), "the Node object has no podCIDRs") {
				t.Errorf("it says %v", err)
			}
			if given {
				source.SetNode(service.Node{Name: "node-1", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.7.0/24")}})
				expect(0, http.StatusOK)
			} else {
				expect(3*time.Minute, http.StatusServiceUnavailable)
				expect(time.Minute, http.StatusOK)
			}
			if err := state.of[reconcile.StepFoundation]; err != nil {
				t.Errorf("in the end it says %v", err)
			}
			expect(10*time.Minute, http.StatusOK)
		})
	}
}

// awaitingPodCIDRs runs a reconciler that needs them until the test ends, and returns its source, which is complete.
func awaitingPodCIDRs(t *testing.T, observer reconcile.Observer) service.Sink {
	options := reconcile.Options{Families: dataplane.Families(), NodeName: "node-1", Audits: reconcile.Audits{Period: patience / 2}, DrainTimeout: time.Minute,
		Service: service.Options{Scheduler: "rr", Masquerade: service.Masquerade{Local: service.Detector{NodeCIDRs: true}}},
		Ours:    func(dataplane.VirtualServerKey) bool { return true }, Clock: clock.RealClock{}}
	r := reconcile.New(kerneltest.NewFake(), options, observer)
	source := r.Source("api", "all")
	source.SetNode(service.Node{Name: "node-1"})
	source.Complete("all")
	done := make(chan struct{})
	go func() { defer close(done); r.Run(t.Context()) }()
	t.Cleanup(func() { <-done }) // the test's context has ended by then
	return source
}
