package reconcile_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// shared returns a Service that wants 203.0.113.1:80, too.
func shared(name, vip string, age time.Duration) service.Service {
	svc := web(name, vip, 0)
	svc.VIPs.External = []netip.Addr{netip.MustParseAddr("203.0.113.1")}
	svc.Created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(-age)
	return svc
}

// entries returns the names of the sets that 203.0.113.1:80 is in.
func (f *fixture) entries() string {
	var sets []string
	for _, entry := range f.kernel.Objects().Entries {
		if entry.Addr == netip.MustParseAddr("203.0.113.1") && entry.Port == 80 {
			sets = append(sets, entry.Set)
		}
	}
	slices.Sort(sets)
	return strings.Join(sets, " ")
}

// complaints is an observer that keeps the problems of each object.
type complaints struct {
	recorder
	of map[string][]service.Problem
}

func (c *complaints) Problems(object string, problems []service.Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[object] = problems
	if len(problems) == 0 {
		delete(c.of, object)
	}
}

// A Service that is not served because another one has its address and port is told so, by the names of both.
func TestConflictIsReportedWhileItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observer := &complaints{of: map[string][]service.Problem{}}
		r := reconcile.New(newFake(t), options(), observer)
		source := r.Source("api", "all")
		source.Complete("all")
		ctx, stop := context.WithCancel(t.Context())
		go r.Run(ctx)
		defer stop()
		for i, step := range []struct {
			change func()
			want   string // a part of the one problem; empty for none
		}{
			{func() { source.SetService(shared("old", "10.96.0.1", time.Hour)) }, ""},
			{func() { source.SetService(shared("young", "10.96.0.2", 0)) }, "api:default/old has it, and api:default/young not"},
			{func() { source.SetService(shared("oldest", "10.96.0.3", 2*time.Hour)) },
				"api:default/oldest has it, and api:default/old, api:default/young not"},
			{func() { source.DeleteService(service.Name{Namespace: "default", Name: "old"}) },
				"api:default/oldest has it, and api:default/young not"},
			{func() { source.SetService(web("oldest", "10.96.0.3", 0)) }, ""},
		} {
			step.change()
			synctest.Wait()
			var got []string
			for _, problems := range observer.of {
				got = append(got, problems[0].Error())
			}
			if all := strings.Join(got, "; "); len(got) > 1 || (all == "") != (step.want == "") || !strings.Contains(all, step.want) {
				t.Errorf("after step %d the problems are %q; want %q", i, all, step.want)
			}
		}
	})
}

// Of two Services that want the same address and port, the loser has no say: neither its lack of endpoints nor its
// policy touches what the winner serves. When the winner goes, the loser takes over with all that is its own.
func TestLoserOfAConflictDoesNotTouchTheWinner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		f.complete()
		winner, loser := shared("old", "10.96.0.1", time.Hour), shared("young", "10.96.0.2", 0)
		loser.Policy.ExternalLocal = true
		f.source.SetService(winner)
		f.source.SetSlice(slice("old", "10.1.0.1"))
		f.settle(0)
		const alone = "KUBE-EXTERNAL-IP"
		expect := func(when, want string) {
			t.Helper()
			f.settle(time.Second)
			if got := f.entries(); got != want {
				t.Fatalf("%s, 203.0.113.1:80 is in %q; want %q", when, got, want)
			}
		}
		expect("with one Service", alone)
		f.source.SetService(loser)
		expect("with a conflicting Service that has no endpoints", alone)
		f.source.SetSlice(slice("young", "10.1.0.2"))
		expect("when the loser has endpoints elsewhere", alone)
		f.source.DeleteService(winner.Name)
		expect("when the winner has gone", "KUBE-EXTERNAL-IP-LOCAL KUBE-NO-LOCAL")
		f.source.SetService(winner)
		expect("when it is back", alone)
		f.expectReals(dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("203.0.113.1"), 80), map[string]uint32{"10.1.0.1": 1})
		f.source.DeleteService(loser.Name)
		expect("when the loser has gone", alone)
	})
}
