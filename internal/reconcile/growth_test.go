package reconcile_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// listener tells of every round, and forgets it.
type listener struct{ rounds chan reconcile.Round }

func (l listener) Queued(time.Time)                   {}
func (l listener) RoundDone(round reconcile.Round)    { l.rounds <- round }
func (l listener) StepDone(reconcile.Step, error)     {}
func (l listener) Audited(reconcile.Audit)            {}
func (l listener) Problems(string, []service.Problem) {}
func (l listener) NodeChanged(service.Node)           {}

// silent is a kernel that tells nothing by itself, so that there are no rounds but those that changes make.
type silent struct{ *kerneltest.Fake }

func (silent) Subscribe(context.Context) (<-chan dataplane.Event, error) {
	return make(chan dataplane.Event), nil
}

// crowd is a reconciler with many Services of ten endpoints each in an in-memory kernel, for which time stands still:
// nothing happens but changes.
type crowd struct {
	testing.TB
	kernel *kerneltest.Fake
	source service.Sink
	rounds chan reconcile.Round
	slices [2]service.Slice // of one Service, with ten and with eleven endpoints
	turn   int
}

func newCrowd(tb testing.TB, services int) *crowd {
	tb.Helper()
	c := &crowd{TB: tb, kernel: kerneltest.NewFake(), rounds: make(chan reconcile.Round)}
	o := options()
	o.Clock = clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	r := reconcile.New(silent{c.kernel}, o, listener{c.rounds})
	c.source = r.Source("api", "services", "slices")
	for i := range services {
		c.source.SetService(web(fmt.Sprint("svc-", i), netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String(), 0))
		c.source.SetSlice(sliceOf(10, i))
	}
	c.slices = [2]service.Slice{sliceOf(10, services/2), sliceOf(11, services/2)}
	c.source.Complete("services")
	c.source.Complete("slices")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		for {
			select {
			case <-c.rounds:
			case <-done:
				return
			}
		}
	})
	for bound := 0; bound < services; {
		for _, op := range (<-c.rounds).Operations {
			if _, ok := op.Object.(dataplane.Address); ok {
				bound++
			}
		}
	}
	return c
}

// sliceOf is the slice of the Service number i, with so many endpoints.
func sliceOf(endpoints, i int) service.Slice {
	s := slice(fmt.Sprint("svc-", i))
	for e := range endpoints {
		addr := netip.AddrFrom4([4]byte{10, byte(128 + i>>12), byte(i >> 4), byte(i<<4 + e)})
		s.Endpoints = append(s.Endpoints, service.Endpoint{Addr: addr, Node: "node-2", Ready: true, Serving: true})
	}
	return s
}

// change adds an endpoint to one Service, or lets it drain, and returns when the kernel has it.
func (c *crowd) change() {
	c.turn++
	c.source.SetSlice(c.slices[c.turn%2])
	round := <-c.rounds
	for round.Services == 0 && len(round.Operations) == 0 { // the end of the start
		round = <-c.rounds
	}
	if len(round.Operations) == 0 || len(round.Operations) > 2 || round.Services != 1 || len(round.Failures) > 0 {
		c.Fatalf("change %d: %d Services translated, operations %v, failures %v", c.turn, round.Services, round.Operations, round.Failures)
	}
	if c.turn%1000 == 0 {
		c.kernel.ResetRecord()
	}
}

// used is the CPU time that the process has used, which depends less on what else the machine does than time does.
func used(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// One endpoint comes or drains, from the source's call to the kernel's answer: the cost must be the same however many
// other Services there are.
func BenchmarkChangeOne(b *testing.B) {
	for _, services := range []int{100, 10_000} {
		b.Run(fmt.Sprint("services=", services), func(b *testing.B) {
			c := newCrowd(b, services)
			runtime.GC()
			b.ReportAllocs()
			before := used(b)
			for b.Loop() {
				c.change()
			}
			b.ReportMetric(float64(used(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// P01, invariants 1 and 7: an endpoint's change translates one Service, sends the same operations and allocates as much
// among 10,000 Services as among 100, and reads nothing.
func TestP01WorkOfAChangeDoesNotGrow(t *testing.T) {
	measure := func(services int) (kerneltest.Counts, float64) {
		c := newCrowd(t, services)
		c.change() // from now on the endpoint is there, draining or not
		c.change()
		c.kernel.ResetRecord()
		allocated := testing.AllocsPerRun(200, c.change)
		return c.kernel.Counts(), allocated
	}
	few, allocatedFew := measure(100)
	many, allocatedMany := measure(10_000)
	if fmt.Sprint(few) != fmt.Sprint(many) || many.Snapshots+many.Foundations+many.NodeAddresses+many.Connections > 0 {
		t.Errorf("the kernel was asked for %+v among 100 Services and for %+v among 10,000", few, many)
	}
	if allocatedMany > 1.1*allocatedFew {
		t.Errorf("a change allocates %.0f times among 100 Services and %.0f times among 10,000", allocatedFew, allocatedMany)
	}
}
