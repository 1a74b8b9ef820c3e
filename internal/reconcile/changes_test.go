package reconcile_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// What is delivered counts at once, and waits until a round has taken it.
func TestChangesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reconcile.New(newFake(t), options(), &recorder{})
		source := r.Source("api", "all")
		expect := func(when string, services, servicesPending, slices, slicesPending int) {
			t.Helper()
			want := reconcile.Changes{Services: reconcile.ChangeCount{Total: uint64(services), Pending: servicesPending},
				Endpoints: reconcile.ChangeCount{Total: uint64(slices), Pending: slicesPending}}
			if diff := cmp.Diff(want, r.Changes()); diff != "" {
				t.Errorf("%s (-want +got)\n%s", when, diff)
			}
		}
		expect("at first", 0, 0, 0, 0)
		source.SetService(web("web", "10.96.0.1", 0))
		source.SetService(web("web", "10.96.0.1", 0)) // no news
		source.SetSlice(slice("web", "10.1.0.1"))
		source.SetSlice(slice("web", "10.1.0.2"))
		source.SetSlice(slice("unknown", "10.1.0.3")) // of no Service
		source.SetNode(service.Node{Name: "node-1"})
		expect("delivered", 2, 1, 3, 2)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
		synctest.Wait()
		expect("incomplete", 2, 1, 3, 2)
		source.Complete("all")
		synctest.Wait()
		expect("taken", 2, 0, 3, 0)
		source.SetNode(service.Node{Name: "node-1", Zone: "a"}) // every Service means something else, none changed
		source.DeleteSlice(service.Name{Namespace: "default", Name: "web-1"})
		source.DeleteService(service.Name{Namespace: "default", Name: "web"})
		synctest.Wait()
		expect("deleted", 3, 0, 4, 0)
	})
}

// How long an endpoint change took is measured for those that were made since the start: at a restart all slices come with
// the times of their last changes.
func TestTriggersOfBeforeTheStartDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		f.source.SetService(web("web", "10.96.0.1", 0))
		old := slice("web", "10.1.0.1")
		old.Triggered = time.Now().Add(-time.Hour)
		f.source.SetSlice(old)
		f.complete()
		f.settle(time.Second)
		v6, empty := slice("web", "fd00::1"), slice("web")
		v6.Name.Name, v6.Triggered = "web-2", time.Now()
		empty.Triggered = time.Now()
		f.source.SetSlice(v6)
		f.settle(0)
		f.source.SetSlice(empty)
		f.settle(0)
		var got []reconcile.Trigger
		for _, round := range f.observer.rounds {
			got = append(got, round.Triggered...)
		}
		want := []reconcile.Trigger{{Family: dataplane.IPv6, At: v6.Triggered}, {At: empty.Triggered}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

// A Service with a policy Local counts as long as its endpoints are on other nodes only.
func TestServicesWithoutLocalEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		internal := reconcile.NoLocal{Family: dataplane.IPv4}
		external := reconcile.NoLocal{Family: dataplane.IPv4, External: true}
		expect := func(when string, inside, outside int) {
			t.Helper()
			f.settle(0)
			got := f.observer.last().Present.NoLocal
			if got[internal] != inside || got[external] != outside || len(got) > 2 {
				t.Errorf("%s: %v, want %d internal, %d external", when, got, inside, outside)
			}
		}
		f.complete()
		expect("none", 0, 0)
		a, b := web("a", "10.96.0.1", 0), web("b", "10.96.0.2", 30080)
		a.Policy.InternalLocal, a.Policy.ExternalLocal, b.Policy.ExternalLocal = true, true, true
		f.source.SetService(a)
		f.source.SetService(b)
		expect("no endpoints anywhere", 0, 0)
		f.source.SetSlice(slice("a", "10.1.0.1"))
		f.source.SetSlice(slice("b", "10.1.0.2"))
		expect("elsewhere", 1, 2)
		here := slice("b", "10.1.0.2", "10.1.0.3")
		here.Endpoints[1].Node = "node-1"
		f.source.SetSlice(here)
		expect("one is here", 1, 1)
		a.Policy.ExternalLocal = false
		f.source.SetService(a)
		expect("the policy changed", 1, 0)
		f.source.DeleteService(a.Name)
		expect("gone", 0, 0)
	})
}

// The number of draining real servers is known while they drain, and zero when they have.
func TestDrainingServersAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		drainOne(f)
		f.settle(5 * time.Second)
		if got := f.observer.last().Present.Draining; got != 1 {
			t.Errorf("%d drain, want 1", got)
		}
		must(t, f.kernel.SetConnections(webKey, netip.MustParseAddrPort("10.1.0.2:8080"), 0))
		f.settle(time.Minute)
		if got := f.observer.last().Present.Draining; got != 0 {
			t.Errorf("%d drain in the end", got)
		}
	})
}

// An object whose operation failed is counted when it is looked at again, not before and not after it succeeded.
func TestRetriesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		f := startWith(t, fake, kerneltest.NewFaulty(fake, 3, kerneltest.Faults{Operations: 0.5}), options())
		f.complete()
		for i := range 20 {
			f.source.SetService(web(string(rune('a'+i)), netip.AddrFrom4([4]byte{10, 96, 0, byte(i + 1)}).String(), 0))
		}
		f.settle(10 * time.Minute)
		retried, failed := 0, 0
		for _, round := range f.observer.rounds {
			retried += round.Present.Retried
			failed += len(round.Failures)
		}
		if failed == 0 || retried == 0 || retried > failed {
			t.Errorf("%d operations failed, %d objects were looked at again", failed, retried)
		}
		if last := f.observer.last(); last.Waiting != 0 || last.Present.Retried != 0 {
			t.Errorf("in the end %d wait, %d retried", last.Waiting, last.Present.Retried)
		}
	})
}
