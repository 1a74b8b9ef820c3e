package reconcile_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/reconcile"
)

// willing is a kernel that takes every operation at once, so that what is left to measure is the reconciler.
type willing struct{ silent }

func (willing) Apply(_ context.Context, operations []dataplane.Operation) []error {
	return make([]error, len(operations))
}

// A start on a kernel that has nothing: from complete sources to the result of the last operation.
func BenchmarkStart(b *testing.B) {
	for _, services := range []int{1000, 10_000} {
		b.Run(fmt.Sprint("services=", services), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				rounds := make(chan reconcile.Round)
				o := options()
				o.Clock = clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
				r := reconcile.New(willing{silent{kerneltest.NewFake()}}, o, listener{rounds})
				source := r.Source("api", "all")
				for i := range services {
					source.SetService(web(fmt.Sprint("svc-", i), netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String(), 0))
					source.SetSlice(sliceOf(10, i))
				}
				source.Complete("all")
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan struct{})
				b.StartTimer()
				go func() { defer close(done); r.Run(ctx) }()
				for complete := false; !complete; {
					complete = (<-rounds).Complete
				}
				b.StopTimer()
				cancel()
				<-done
				b.StartTimer()
			}
		})
	}
}
