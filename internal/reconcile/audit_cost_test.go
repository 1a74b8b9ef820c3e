package reconcile_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
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
	taken *kernel.Snapshot
	keep  atomic.Bool
}

func (r *remembered) Subscribe(context.Context) (<-chan dataplane.Event, error) {
	return make(chan dataplane.Event), nil
}

func (r *remembered) Snapshot(ctx context.Context) (*kernel.Snapshot, error) {
	if r.keep.Load() && r.taken != nil {
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

// audited is a reconciler of many Services on a kernel that is read once, for which time passes by audits.
type audited struct {
	*auditor
	kernel *remembered
	clock  *clocktesting.FakeClock
	done   chan struct{}
	period time.Duration
}

func startAudited(b *testing.B, services int) *audited {
	a := &audited{auditor: &auditor{listener{make(chan reconcile.Round)}, make(chan reconcile.Audit)},
		kernel: &remembered{Fake: kerneltest.NewFake()}, done: make(chan struct{}),
		clock: clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}
	o := options()
	o.Clock, a.period = a.clock, o.Audits.Period
	r := reconcile.New(a.kernel, o, a)
	source := r.Source("api", "services")
	for i := range services {
		source.SetService(web(fmt.Sprint("svc-", i), netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String(), 0))
		source.SetSlice(sliceOf(10, i))
	}
	source.Complete("services")
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer close(a.done); r.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		for running := true; running; {
			_, running = a.next()
		}
	})
	for bound := 0; bound < services; {
		round, _ := a.next()
		for _, op := range round.Operations {
			if _, ok := op.Object.(dataplane.Address); ok {
				bound++
			}
		}
	}
	return a
}

// next returns the next round, or an empty one in the place of an audit, until the reconciler stops.
func (a *audited) next() (round reconcile.Round, running bool) {
	select {
	case round := <-a.rounds:
		return round, true
	case <-a.audits:
		return reconcile.Round{}, true
	case <-a.done:
		return reconcile.Round{}, false
	}
}

// audit lets a period pass, and returns when the round after the audit is done.
func (a *audited) audit() {
	for !a.clock.HasWaiters() {
		runtime.Gosched()
	}
	a.clock.Step(a.period + time.Millisecond)
	for audited := false; !audited; {
		select {
		case <-a.audits:
			audited = true
		case <-a.rounds:
		}
	}
	<-a.rounds
}

// BenchmarkAudit is an audit of a kernel that is as it should be, without the reading.
func BenchmarkAudit(b *testing.B) {
	for _, services := range []int{1000, 10_000} {
		b.Run(fmt.Sprint("services=", services), func(b *testing.B) {
			a := startAudited(b, services)
			a.audit()
			a.kernel.keep.Store(true)
			a.audit()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				a.audit()
			}
		})
	}
}
