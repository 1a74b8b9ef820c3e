package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/reconcile"
)

// last tells what a snapshot saw of what changed meanwhile: the end of it.
func lastState() bool { return true }

// P03: a virtual server whose endpoints change all the time is audited like any other: what changed while the kernel was
// being read is left out, the rest of it is not.
func TestP03RestlessVirtualServerIsAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		f := startWith(t, fake, &large{Kernel: fake, snapshot: 2 * time.Second, later: lastState}, options())
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1", "10.1.0.2"))
		f.complete()
		f.settle(5 * time.Second)
		must(t, fake.ByHand(dataplane.Operation{Verb: dataplane.Delete, Object: dataplane.Member{VirtualServer: webKey,
			RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort("10.1.0.2:8080")}}}))
		for i := range 100 {
			f.source.SetSlice(slice("web", []string{"10.1.0.1", "10.1.0.2", "10.1.0.3"}[:2+i%2]...))
			f.settle(500 * time.Millisecond)
		}
		if _, ok := f.reals(webKey)["10.1.0.2"]; !ok {
			t.Errorf("after %d audits the real server is not back: %v", len(f.observer.audits), f.reals(webKey))
		}
	})
}

// P04, P12: an addition whose answer was lost, of an endpoint that is gone before it is tried again.
func TestP12LostAnswerBehindARestlessVirtualServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, lost := newFake(t), 0
		faulty := kerneltest.NewFaulty(fake, 1, kerneltest.Faults{Decide: func(op dataplane.Operation) kerneltest.Fault {
			if op.String() == "ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.9:8080 -m -w 1" {
				lost++
				return kerneltest.Fault{Err: errors.New("answers were lost"), TakesEffect: true}
			}
			return kerneltest.Fault{}
		}})
		f := startWith(t, fake, &large{Kernel: faulty, snapshot: 600 * time.Millisecond, later: lastState}, options())
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		f.settle(5 * time.Second)
		f.source.SetSlice(slice("web", "10.1.0.1", "10.1.0.9"))
		f.settle(0)
		for i := range byte(100) {
			f.source.SetSlice(slice("web", "10.1.0.1", netip.AddrFrom4([4]byte{10, 1, 1, i}).String()))
			f.settle(500 * time.Millisecond)
		}
		if weight, ok := f.reals(webKey)["10.1.0.9"]; lost != 1 || ok && weight > 0 {
			t.Errorf("after %d lost answers and %d audits, the endpoint that is gone has weight %d", lost, len(f.observer.audits), weight)
		}
	})
}

// P12: an addition whose outcome is unknown, of an endpoint that is gone before it is tried again, is looked up at once. An
// addition that failed waits for the next audit.
func TestP12UnknownOutcomeIsLookedUp(t *testing.T) {
	for _, unknown := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			failure := errors.New("answers were lost")
			if unknown {
				failure = fmt.Errorf("%w: %w", dataplane.ErrUnknown, failure)
			}
			fake := newFake(t)
			faulty := kerneltest.NewFaulty(fake, 1, kerneltest.Faults{Decide: func(op dataplane.Operation) kerneltest.Fault {
				if op.Verb == dataplane.Add && strings.Contains(op.String(), "10.1.0.9:8080") {
					return kerneltest.Fault{Err: failure, TakesEffect: true}
				}
				return kerneltest.Fault{}
			}})
			o := options()
			o.Audits.Period = 24 * time.Hour
			f := startWith(t, fake, faulty, o)
			f.source.SetService(web("web", "10.96.0.1", 0))
			f.source.SetSlice(slice("web", "10.1.0.1"))
			f.complete()
			f.settle(5 * time.Second)
			f.source.SetSlice(slice("web", "10.1.0.1", "10.1.0.9"))
			f.settle(0)
			f.source.SetSlice(slice("web", "10.1.0.1"))
			f.settle(time.Minute)
			weight, left := f.reals(webKey)["10.1.0.9"]
			if (left && weight > 0) == unknown {
				t.Errorf("unknown %v: after %d audits, the endpoint that is gone is there %v, with weight %d", unknown, len(f.observer.audits), left, weight)
			}
		})
	}
}

// Between two audits there is a whole period, also when one takes longer than that.
func TestRestBetweenSlowAudits(t *testing.T) {
	for _, foundation := range []time.Duration{15 * time.Second, 40 * time.Second} {
		t.Run(foundation.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake(t)
				f := startWith(t, fake, &large{Kernel: fake, foundation: foundation, snapshot: 20 * time.Second, later: lastState}, options())
				f.complete()
				f.settle(20 * time.Minute)
				audits := f.observer.audits
				for i := 1; i < len(audits); i++ {
					if between, want := audits[i].At.Sub(audits[i-1].At), foundation+50*time.Second; between != want {
						t.Fatalf("%v between two audits, want %v", between, want)
					}
				}
				if len(audits) < 10 {
					t.Errorf("%d audits in 20 minutes", len(audits))
				}
			})
		})
	}
}

// An audit that uses much CPU time is followed by a longer rest, up to a limit: on a large and slow node, audits are not what
// the processor is for.
func TestRestAfterExpensiveAudits(t *testing.T) {
	for used, rest := range map[time.Duration]time.Duration{
		100 * time.Millisecond: 30 * time.Second, 400 * time.Millisecond: 80 * time.Second, 4 * time.Second: 5 * time.Minute,
	} {
		t.Run(used.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, total := options(), time.Duration(0)
				o.Audits.CPUTime = func() time.Duration {
					total += used // it is read before and after
					return total
				}
				fake := newFake(t)
				f := startWith(t, fake, fake, o)
				f.complete()
				f.settle(20 * time.Minute)
				audits := f.observer.audits
				if len(audits) < 4 {
					t.Fatalf("%d audits in 20 minutes", len(audits))
				}
				for i := 2; i < len(audits); i++ { // the first is the start, after which the rest is the usual one
					if between := audits[i].At.Sub(audits[i-1].At); between != rest {
						t.Errorf("%v between two audits, want %v", between, rest)
					}
				}
			})
		})
	}
}

// hanging is a kernel whose foundation hangs from the second time on, until it is released.
type hanging struct {
	kernel.Kernel
	calls   int
	release chan struct{}
}

func (h *hanging) EnsureFoundation(ctx context.Context, f kernel.Foundation) ([]string, error) {
	if h.calls++; h.calls > 1 {
		<-h.release
	}
	return h.Kernel.EnsureFoundation(ctx, f)
}

// P04, P05: an audit that hangs holds up no change, and is reported for as long as it does.
func TestP05HangingAuditIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		stuck := &hanging{Kernel: fake, release: make(chan struct{})}
		f := startWith(t, fake, stuck, options())
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		f.settle(5 * time.Minute)
		f.source.SetSlice(slice("web", "10.1.0.1", "10.1.0.2"))
		f.settle(0)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1, "10.1.0.2": 1})
		if n := len(f.observer.steps); n != 9 || !strings.Contains(f.observer.steps[8].Error(), "under way for 4m30s") {
			t.Errorf("in 5 minutes, reported are %v", f.observer.steps)
		}
		if err := f.observer.failing[reconcile.StepFoundation]; err == nil {
			t.Error("the step passes for one that succeeds")
		}
		close(stuck.release)
		f.settle(time.Second)
		if err := f.observer.failing[reconcile.StepFoundation]; err != nil || len(f.observer.audits) != 2 {
			t.Errorf("when it went on: %v, %d audits", err, len(f.observer.audits))
		}
	})
}

// P03: the device is replaced while a restarted proxy, whose sources are not complete, reads the kernel.
func TestP03DeviceReplacedBeforeTheSourcesAreComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		must(t, addByHand(fake, "10.96.0.1"))
		o := options()
		o.Audits.Period = 10 * time.Minute
		f := startWith(t, fake, &large{Kernel: fake, snapshot: 10 * time.Second, later: func() bool { return false }}, o)
		f.settle(11 * time.Second)
		fake.Overrun() // the kernel is read once more
		f.settle(2 * time.Second)
		fake.RenameDevice()
		fake.PutDevice("dummy")
		f.settle(20 * time.Second)
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		f.settle(time.Minute)
		if !f.bound("10.96.0.1") {
			t.Error("the address is not bound")
		}
	})
}

// addByHand has the kernel hold an address before any proxy runs.
func addByHand(fake *kerneltest.Fake, addr string) error {
	fake.PutDevice("dummy")
	return fake.ByHand(dataplane.Operation{Verb: dataplane.Add, Object: dataplane.Address{Addr: netip.MustParseAddr(addr)}})
}

// P03: when the device vanishes, its addresses are added after it is there again, not before.
func TestP03DeviceRemovedFailsNothing(t *testing.T) {
	for _, takes := range []time.Duration{0, 50 * time.Millisecond} {
		t.Run(takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake(t)
				f := startWith(t, fake, &large{Kernel: fake, foundation: takes, snapshot: takes, later: lastState}, options())
				for i := range byte(20) {
					f.source.SetService(web(fmt.Sprint("web", i), netip.AddrFrom4([4]byte{10, 96, 0, i + 1}).String(), 0))
					f.source.SetSlice(slice(fmt.Sprint("web", i), "10.1.0.1"))
				}
				f.complete()
				f.settle(5 * time.Second)
				want := fake.Dump()
				must(t, fake.DropDevice())
				f.settle(takes)
				if fake.Dump() != want {
					t.Errorf("%v later, not all addresses are back:\n%s", takes, fake.Dump())
				}
				for _, round := range f.observer.rounds {
					for _, failure := range round.Failures {
						t.Errorf("failed: %v", failure)
					}
				}
			})
		})
	}
}

// A count of connections that failed is not remembered as failing when there is nothing to count any more.
func TestFailedDrainCountIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		faulty := kerneltest.NewFaulty(fake, 1, kerneltest.Faults{})
		f := startWith(t, fake, faulty, options())
		drainOne(f)
		faulty.SetFaults(kerneltest.Faults{Connections: 1})
		f.settle(1010 * time.Millisecond)
		if f.observer.failing[reconcile.StepDrain] == nil {
			t.Fatal("no count failed")
		}
		f.source.SetSlice(slice("web", "10.1.0.1", "10.1.0.2")) // wanted again
		f.settle(time.Minute)
		if err := f.observer.failing[reconcile.StepDrain]; err != nil {
			t.Errorf("still failing: %v", err)
		}
	})
}
