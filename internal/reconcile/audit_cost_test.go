package reconcile_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/reconcile"
)

// remembered is a kernel that is read once: what an audit costs beyond reading is left.
type remembered struct {
	*kerneltest.Fake
	mutex sync.Mutex
	taken *kernel.Snapshot
	keep  bool
}

func (r *remembered) Subscribe(context.Context) (<-chan dataplane.Event, error) {
	return make(chan dataplane.Event), nil
}

func (r *remembered) Snapshot(ctx context.Context) (*kernel.Snapshot, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.keep && r.taken != nil {
		return r.taken, nil
	}
	var err error
	r.taken, err = r.Fake.Snapshot(ctx)
	return r.taken, err
}

// auditor hears of audits and of the rounds after them.
type auditor struct {
	listener
	audits chan reconcile.Audit
}

func (a auditor) Audited(audit reconcile.Audit) { a.audits <- audit }

// BenchmarkAudit is an audit of a kernel that is as it should be, without the reading.
func BenchmarkAudit(b *testing.B) {
	for _, services := range []int{1000, 10_000} {
		b.Run(fmt.Sprint("services=", services), func(b *testing.B) {
			k := &remembered{Fake: kerneltest.NewFake()}
			observer := auditor{listener{make(chan reconcile.Round)}, make(chan reconcile.Audit)}
			o, now := options(), clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			o.Clock = now
			r := reconcile.New(k, o, observer)
			source := r.Source("api", "services")
			for i := range services {
				source.SetService(web(fmt.Sprint("svc-", i), netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String(), 0))
				source.SetSlice(sliceOf(10, i))
			}
			source.Complete("services")
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() { defer close(done); r.Run(ctx) }()
			next := func() (audited bool) {
				select {
				case <-observer.audits:
					return true
				case <-observer.rounds:
				case <-done:
				case <-time.After(time.Second):
					b.Log("nothing happens")
				}
				return false
			}
			for bound := 0; bound < services; {
				select {
				case round := <-observer.rounds:
					for _, op := range round.Operations {
						if _, ok := op.Object.(dataplane.Address); ok {
							bound++
						}
					}
				case <-observer.audits:
				}
			}
			audit := func() {
				for !now.HasWaiters() {
					runtime.Gosched()
				}
				now.Step(o.AuditPeriod + time.Millisecond)
				for !next() {
				}
				<-observer.rounds
			}
			audit()
			k.mutex.Lock()
			k.keep = true
			k.mutex.Unlock()
			audit()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				audit()
			}
			b.StopTimer()
			cancel()
			for {
				select {
				case <-observer.rounds:
				case <-observer.audits:
				case <-done:
					return
				}
			}
		})
	}
}
