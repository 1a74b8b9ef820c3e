package reconcile_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/reconcile"
)

// P27: while one source is incomplete, a Service of another one whose first endpoint comes is served, not refused.
func TestP27FirstEndpointWhileASourceIsIncomplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{T: t, kernel: newFake(t), observer: &recorder{}}
		r := reconcile.New(f.kernel, options(), f.observer)
		f.source = r.Source("manifests", "manifests")
		r.Source("api", "services") // the API server does not answer
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.Complete("manifests")
		f.settle(time.Second)
		if dump := f.kernel.Dump(); !strings.Contains(dump, "KUBE-NO-ENDPOINTS 10.96.0.1") {
			t.Fatalf("without an endpoint clients are not refused:\n%s", dump)
		}
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.settle(time.Second)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1})
		if dump := f.kernel.Dump(); strings.Contains(dump, "KUBE-NO-ENDPOINTS") {
			t.Errorf("with an endpoint clients are still refused:\n%s", dump)
		}
	})
}
