package reconcile_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/service"
)

// large is a kernel that is large: looking at all of it takes time, in which it changes. Of what changed, some is reported
// as it was before and some as it is after.
type large struct {
	kernel.Kernel
	foundation, snapshot time.Duration
	later                func() bool // which of the two is reported
}

func (l *large) EnsureFoundation(ctx context.Context, f kernel.Foundation) ([]string, error) {
	time.Sleep(l.foundation)
	return l.Kernel.EnsureFoundation(ctx, f)
}

func (l *large) Snapshot(ctx context.Context) (*kernel.Snapshot, error) {
	before, err := l.Kernel.Snapshot(ctx)
	time.Sleep(l.snapshot)
	if err != nil {
		return nil, err
	}
	after, err := l.Kernel.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &kernel.Snapshot{Objects: dataplane.Objects{
		Pools:     tear(before.Pools, after.Pools, func(p dataplane.Pool) dataplane.VirtualServerKey { return p.Key }, l.later),
		Addresses: tear(before.Addresses, after.Addresses, func(a netip.Addr) netip.Addr { return a }, l.later),
		Entries:   tear(before.Entries, after.Entries, dataplane.Entry.Key, l.later),
	}}, nil
}

// tear takes each object from one of two states.
func tear[T any, K comparable](before, after []T, keyOf func(T) K, later func() bool) []T {
	fromAfter := map[K]bool{}
	pick := func(from []T, isAfter bool) (picked []T) {
		for _, object := range from {
			key := keyOf(object)
			if _, decided := fromAfter[key]; !decided {
				fromAfter[key] = later()
			}
			if fromAfter[key] == isAfter {
				picked = append(picked, object)
			}
		}
		return picked
	}
	return append(pick(before, false), pick(after, true)...)
}

// Invariant 1: changes do not wait for an audit, however long it takes, and what it saw of them before they were made
// neither undoes them nor passes for drift; what somebody else changed is found.
func TestAuditHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		big := &large{Kernel: fake, foundation: 4 * time.Second, snapshot: 10 * time.Second, later: func() bool { return false }}
		f := startWith(t, fake, big, options())
		for i := range byte(3) {
			name := fmt.Sprint("web", i)
			f.source.SetService(web(name, netip.AddrFrom4([4]byte{10, 96, 0, i + 1}).String(), 0))
			f.source.SetSlice(slice(name, "10.1.0.1"))
		}
		f.complete()
		f.settle(14 * time.Second) // the start has to wait: it is what the first plan is made from
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1})

		f.settle(32 * time.Second) // the foundation is being looked at
		f.source.SetSlice(slice("web0", "10.1.0.1", "10.1.0.2"))
		f.settle(0)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1, "10.1.0.2": 1})
		f.settle(4 * time.Second) // the kernel is being read
		f.source.SetSlice(slice("web0", "10.1.0.2"))
		f.source.DeleteService(service.Name{Namespace: "default", Name: "web1"})
		f.source.SetService(web("new", "10.96.0.9", 30009))
		f.source.SetSlice(slice("new", "10.1.0.1"))
		f.settle(2 * time.Second)
		changed := fake.Dump()
		f.expectReals(webKey, map[string]uint32{"10.1.0.2": 1})
		if f.bound("10.96.0.2") || !f.bound("10.96.0.9") {
			t.Fatalf("during an audit, the kernel does not follow:\n%s", changed)
		}
		fake.ResetRecord()
		f.settle(10 * time.Second)
		if log := fake.Log(); len(log) > 0 || fake.Dump() != changed {
			t.Errorf("what the audit saw before the changes made it do %q", log)
		}
		if audits := f.observer.audits; len(audits) != 2 || audits[1].Drifted != 0 {
			t.Errorf("audits %+v, want a second one without drift", audits)
		}

		must(t, fake.ByHand(dataplane.Operation{Verb: dataplane.Delete, Object: dataplane.VirtualServer{Key: webKey}}))
		f.settle(50 * time.Second)
		if audits := f.observer.audits; len(audits) != 3 || audits[2].Drifted != 1 || fake.Dump() != changed {
			t.Errorf("audits %+v, want a third one that finds one thing and repairs it:\n%s", audits, fake.Dump())
		}
	})
}

// P03: while the kernel is being read, somebody puts another device into the place of the proxy's.
func TestP03DeviceReplacedDuringAnAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		big := &large{Kernel: fake, snapshot: 10 * time.Second, later: func() bool { return false }}
		o := options()
		o.MinPeriod = 15 * time.Second // the repair comes after the audit
		f := startWith(t, fake, big, o)
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		f.settle(45 * time.Second) // within an audit
		fake.RenameDevice()
		fake.PutDevice("dummy")
		f.settle(20 * time.Second)
		if !f.bound("10.96.0.1") {
			t.Error("the address is not back")
		}
	})
}

// As TestRandomWalkWithFaultsConverges, with audits that take longer than the time between changes.
func TestRandomWalkWithSlowAuditsConverges(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 2))
				fake := newFake(t)
				faulty := kerneltest.NewFaulty(fake, seed, kerneltest.Faults{Operations: 0.1, TakesEffect: 0.5, Snapshot: 0.2, Foundation: 0.2})
				big := &large{Kernel: faulty, foundation: 5 * time.Second, snapshot: 7 * time.Second,
					later: func() bool { return random.IntN(2) == 0 }}
				o := options()
				o.Audits.Period = 3 * time.Second
				f := startWith(t, fake, big, o)
				w := &walk{random: rand.New(rand.NewPCG(seed, 3)), services: map[string]service.Service{}, slices: map[string]service.Slice{}}
				f.complete()
				for range 60 {
					w.step(f)
				}
				faulty.SetFaults(kerneltest.Faults{})
				f.settle(20 * time.Minute)
				if diff := cmp.Diff(unmarked(w.final(t)), unmarked(fake.Dump())); diff != "" {
					t.Errorf("(-fresh kernel +this one):\n%s", diff)
				}
			})
		})
	}
}
