package reconcile_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// viewed is a fixture whose reconciler can be asked.
type viewed struct {
	*fixture
	reconciler *reconcile.Reconciler
}

func startViewed(t *testing.T, fake *kerneltest.Fake) viewed {
	t.Helper()
	v := viewed{fixture: &fixture{T: t, kernel: fake, observer: &recorder{}}}
	v.reconciler = reconcile.New(fake, options(), v.observer)
	v.source = v.reconciler.Source("api", "services", "slices")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); v.reconciler.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return v
}

func (v viewed) view() reconcile.View {
	v.Helper()
	view, err := v.reconciler.View(v.Context())
	if err != nil {
		v.Fatal(err)
	}
	return view
}

// A view has what the kernel then has, who wanted it, and how far the reconciler is.
func TestViewIsWhatIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := startViewed(t, newFake(t))
		v.source.SetService(web("web", "10.96.0.1", 30080))
		v.source.SetSlice(slice("web", "10.0.0.1"))
		if v.settle(0); v.view().Complete {
			t.Error("the view counts as complete before its sources are")
		}
		v.complete()
		view := v.view()
		if !view.Complete || view.LastRound.IsZero() || view.LastAudit.IsZero() || !view.At.Equal(time.Now()) {
			t.Errorf("state %v, %v, %v, %v", view.Complete, view.LastRound, view.LastAudit, view.At)
		}
		snapshot, err := v.kernel.Snapshot(t.Context())
		if err != nil || snapshot.Dump() != view.Objects.Dump() {
			t.Errorf("the view has\n%sand the kernel (%v)\n%s", view.Objects.Dump(), err, snapshot.Dump())
		}
		name := service.Name{Namespace: "default", Name: "web"}
		for i, pool := range view.Objects.Pools { // the ClusterIP and the NodePort
			if want := (reconcile.Owner{Source: "api", Service: name, Port: "http"}); view.Owners.Pools[i] != want {
				t.Errorf("%s is owned by %+v, want %+v", pool.Key, view.Owners.Pools[i], want)
			}
		}
		at := slices.Index(view.Objects.Addresses, netip.MustParseAddr("10.96.0.1"))
		if at < 0 || view.Owners.Addresses[at] != (reconcile.Owner{Source: "api", Service: name}) {
			t.Errorf("addresses %v of %v", view.Objects.Addresses, view.Owners.Addresses)
		}
		if len(view.Objects.Pools) != 2 || len(view.Owners.Entries) != len(view.Objects.Entries) || len(view.Foundation.Sets) == 0 || len(view.Foundation.Rulesets) != 2 {
			t.Errorf("view %+v", view)
		}
	})
}

// A real server that drains is in the view until it has gone.
func TestViewTellsWhatDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := startViewed(t, newFake(t))
		key := dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.0.1"), 80)
		v.source.SetService(web("web", "10.96.0.1", 0))
		v.source.SetSlice(slice("web", "10.0.0.1", "10.0.0.2"))
		v.complete()
		if len(v.view().Draining) != 0 {
			t.Error("something drains at the start")
		}
		if err := v.kernel.SetConnections(key, netip.MustParseAddrPort("10.0.0.1:8080"), 1); err != nil {
			t.Fatal(err)
		}
		v.source.SetSlice(slice("web", "10.0.0.2"))
		v.settle(0)
		draining := v.view().Draining
		want := dataplane.Member{VirtualServer: key, RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort("10.0.0.1:8080")}}
		if !slices.Equal(draining, []dataplane.Member{want}) {
			t.Errorf("draining are %v, want %v", draining, want)
		}
		if err := v.kernel.SetConnections(key, want.Addr, 0); err != nil {
			t.Fatal(err)
		}
		if v.settle(3 * time.Second); len(v.view().Draining) != 0 {
			t.Errorf("%v drain when their connections have ended", v.view().Draining)
		}
	})
}

// The Services that somebody wants to know of come with their slices, once their source is complete; the view has what
// they were translated with.
func TestServicesAsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := startViewed(t, newFake(t))
		v.source.SetService(web("web", "10.96.0.1", 30080))
		v.source.SetService(web("other", "10.96.0.2", 0))
		v.source.SetSlice(slice("web", "10.0.0.1"))
		named := func(one service.View) bool { return one.Name.Name == "web" }
		if found := v.reconciler.Services(named); len(found) != 0 {
			t.Errorf("%v of an incomplete source", found)
		}
		v.complete()
		found := v.reconciler.Services(named)
		if len(found) != 1 || found[0].Source != "api" || found[0].Name.Name != "web" || len(found[0].Slices()) != 1 {
			t.Errorf("found %+v", found)
		}
		if all := v.reconciler.Services(func(service.View) bool { return true }); len(all) != 2 {
			t.Errorf("all are %+v", all)
		}
		basis := v.view().Basis
		if basis.Options.Scheduler != options().Service.Scheduler || !slices.Equal(basis.Facts.Families, options().Families) || basis.Facts.Node.Name != options().NodeName {
			t.Errorf("basis %+v", basis)
		}
	})
}

// A view that nobody is there to give is an error when the caller's patience ends.
func TestViewWithoutRun(t *testing.T) {
	r := reconcile.New(newFake(t), options(), &recorder{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := r.View(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
