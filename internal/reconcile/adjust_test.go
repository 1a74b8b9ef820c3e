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

// adjustments are states that a configuration may have, one after the other.
func adjustments(t *testing.T) []reconcile.Adjustment {
	t.Helper()
	loopback, err := service.ParseNodePortAddresses([]string{"127.0.0.0/8"})
	must(t, err)
	primary, err := service.ParseNodePortAddresses([]string{"primary"})
	must(t, err)
	o := options()
	plain := reconcile.Adjustment{Scheduler: "rr", AuditPeriod: o.Audits.Period, Ours: o.Ours}
	all := []reconcile.Adjustment{plain, plain, plain, plain, plain}
	all[1].Scheduler = "sh"
	all[2].MasqueradeAll, all[2].NodePorts = true, loopback
	all[3].NodePorts, all[3].Scheduler, all[3].MinPeriod = primary, "lc", time.Second
	all[4].AuditPeriod = 5 * time.Second
	return all
}

// optionsOf are the options with which a reconciler starts that is never adjusted.
func optionsOf(a reconcile.Adjustment) reconcile.Options {
	o := options()
	o.Service.Scheduler, o.Service.Masquerade.All, o.NodePorts = a.Scheduler, a.MasqueradeAll, a.NodePorts
	o.Audits.Period, o.MinPeriod, o.Ours = a.AuditPeriod, a.MinPeriod, a.Ours
	return o
}

// someServices delivers Services that depend on the options in different ways.
func someServices(sink service.Sink) {
	affine := web("affine", "10.96.0.3", 30083)
	affine.Policy.AffinityTimeout = 3 * time.Hour
	local := web("local", "10.96.0.2", 30082)
	local.Policy.ExternalLocal, local.Policy.HealthCheckNodePort = true, 30099
	local.VIPs.LoadBalancer = []netip.Addr{netip.MustParseAddr("198.51.100.2")}
	sink.SetNode(service.Node{Name: "node-1", Addresses: []netip.Addr{nodeAddress}})
	for _, svc := range []service.Service{web("web", "10.96.0.1", 30081), local, affine} {
		sink.SetService(svc)
		sink.SetSlice(slice(svc.Name.Name, "10.1.0.1", "10.1.0.2"))
	}
}

// everything is the state of a kernel, rules included.
func everything(t *testing.T, fake *kerneltest.Fake) string {
	t.Helper()
	rules, found := fake.Ruleset(dataplane.IPv4)
	if !found {
		t.Fatal("no rules")
	}
	return fake.Dump() + cmp.Diff(dataplane.Ruleset{}, rules)
}

// adjustable is a fixture that can be adjusted.
func adjustable(t *testing.T, fake *kerneltest.Fake, o reconcile.Options) (*fixture, *reconcile.Reconciler) {
	t.Helper()
	f := &fixture{T: t, kernel: fake, observer: &recorder{}}
	r := reconcile.New(fake, o, f.observer)
	f.source = r.Source("api", "services", "slices")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f, r
}

// Whatever the options were before, a reconciler that is adjusted ends where one that starts with the new ones does.
func TestAdjustEndsWhereAStartDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := adjustments(t)
		var want []string
		for _, a := range all {
			fresh, _ := adjustable(t, newFake(t), optionsOf(a))
			someServices(fresh.source)
			fresh.complete()
			fresh.settle(time.Minute)
			want = append(want, everything(t, fresh.kernel))
		}
		f, r := adjustable(t, newFake(t), optionsOf(all[0]))
		someServices(f.source)
		f.complete()
		for from := range all {
			for to := range all {
				for _, i := range []int{from, to} {
					must(t, r.Adjust(t.Context(), all[i]))
					f.settle(2 * time.Second)
				}
				if diff := cmp.Diff(want[to], everything(t, f.kernel)); diff != "" {
					t.Fatalf("from %+v to %+v (-started +adjusted)\n%s", all[from], all[to], diff)
				}
			}
		}
		if len(f.observer.steps) > 0 {
			t.Errorf("steps failed: %v", f.observer.steps)
		}
	})
}

// Adjusted before anything is known, it starts with the new options.
func TestAdjustBeforeTheSourcesAreComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := adjustments(t)
		f, r := adjustable(t, newFake(t), optionsOf(all[0]))
		must(t, r.Adjust(t.Context(), all[3]))
		someServices(f.source)
		f.complete()
		f.settle(time.Minute)
		fresh, _ := adjustable(t, newFake(t), optionsOf(all[3]))
		someServices(fresh.source)
		fresh.complete()
		fresh.settle(time.Minute)
		if diff := cmp.Diff(everything(t, fresh.kernel), everything(t, f.kernel)); diff != "" {
			t.Errorf("(-started +adjusted)\n%s", diff)
		}
	})
}

// The same options again change nothing: no operation, no Service translated.
func TestAdjustToTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		same := adjustments(t)[0]
		f, r := adjustable(t, newFake(t), optionsOf(same))
		someServices(f.source)
		f.complete()
		f.settle(time.Minute)
		before := len(f.observer.rounds)
		must(t, r.Adjust(t.Context(), same))
		f.settle(time.Minute)
		for _, round := range f.observer.rounds[before:] {
			if round.Services > 0 || len(round.Operations) > 0 {
				t.Errorf("%d Services translated, operations %v", round.Services, round.Operations)
			}
		}
	})
}

// A scheduler is changed in place: the virtual server keeps its real servers, and so its connections.
func TestAdjustEditsVirtualServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := adjustments(t)
		f, r := adjustable(t, newFake(t), optionsOf(all[0]))
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		f.settle(time.Minute)
		before := len(f.observer.rounds)
		lc := all[0]
		lc.Scheduler = "lc"
		must(t, r.Adjust(t.Context(), lc))
		f.settle(0)
		var verbs []string
		for _, round := range f.observer.rounds[before:] {
			for _, op := range round.Operations {
				verbs = append(verbs, op.String())
			}
		}
		if diff := cmp.Diff([]string{"ipvsadm -E -t 10.96.0.1:80 -s lc"}, verbs); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

// What the options call ours is taken away, and what they do not is left alone, from the moment on that they say so.
func TestAdjustWhatIsOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs := dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.250.0.1"), 80)
		add := dataplane.Operation{Verb: dataplane.Add, Object: dataplane.VirtualServer{Key: theirs, Scheduler: "rr", MaskBits: 32}}
		there := func(f *fixture) (found bool) {
			for _, pool := range f.kernel.Objects().Pools {
				found = found || pool.Key == theirs
			}
			return found
		}
		excluded := adjustments(t)[0]
		included := excluded
		excluded.Ours = func(key dataplane.VirtualServerKey) bool { return key != theirs }
		f, r := adjustable(t, newFake(t), optionsOf(excluded))
		f.complete()
		for range 2 {
			must(t, f.kernel.ByHand(add))
			f.settle(2 * time.Minute)
			if !there(f) {
				t.Fatal("an excluded virtual server was deleted")
			}
			must(t, r.Adjust(t.Context(), included))
			f.settle(0)
			if there(f) {
				t.Fatal("what is not excluded any more was not deleted")
			}
			must(t, r.Adjust(t.Context(), excluded))
			f.settle(0)
		}
	})
}

// A shorter period counts at once, not after the longer one is over.
func TestAdjustTheAuditPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := adjustments(t)[0]
		a.AuditPeriod = time.Hour
		f, r := adjustable(t, newFake(t), optionsOf(a))
		f.complete()
		f.settle(time.Minute)
		a.AuditPeriod = 10 * time.Second
		before := len(f.observer.audits)
		must(t, r.Adjust(t.Context(), a))
		f.settle(time.Minute + time.Second)
		if audits := len(f.observer.audits) - before; audits < 6 || audits > 9 {
			t.Errorf("%d audits in a minute", audits)
		}
	})
}

func TestAdjustEndsWithItsContext(t *testing.T) {
	r := reconcile.New(newFake(t), options(), &recorder{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Adjust(ctx, adjustments(t)[0]); err == nil {
		t.Error("nobody took the options, and that was no error")
	}
}
