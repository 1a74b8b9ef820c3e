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

// conflicts returns the problems that are conflicts.
func (c *complaints) conflicts() []service.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []service.Problem
	for _, problems := range c.of {
		for _, p := range problems {
			if p.Rival != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

// String returns all problems, one on each line.
func (c *complaints) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, problems := range c.of {
		for _, p := range problems {
			out = append(out, p.Error()+"\n")
		}
	}
	slices.Sort(out)
	return strings.Join(out, "")
}

// losses lists who loses to whom.
func (c *complaints) losses() string {
	var out []string
	for _, p := range c.conflicts() {
		out = append(out, strings.TrimPrefix(p.Object, "Service default/")+"<"+strings.TrimPrefix(p.Rival, "Service default/"))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// observed runs a reconciler on a new kernel until the test ends, with a complete source of each name.
func observed(t *testing.T, names ...string) (*complaints, *fixture, []service.Sink) {
	t.Helper()
	observer, fake := &complaints{of: map[string][]service.Problem{}}, newFake(t)
	r := reconcile.New(fake, options(), observer)
	var sources []service.Sink
	for _, name := range names {
		source := r.Source(name, "all")
		source.Complete("all")
		sources = append(sources, source)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return observer, &fixture{T: t, kernel: fake}, sources
}

// A Service that is not served because another one has its address and port is told so, in its own terms, as long as
// that is so.
func TestConflictIsReportedWhileItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observer, _, sources := observed(t, "api")
		source := sources[0]
		for i, step := range []struct {
			change func()
			want   string // who loses to whom
		}{
			{func() { source.SetService(shared("old", "10.96.0.1", time.Hour)) }, ""},
			{func() { source.SetService(shared("young", "10.96.0.2", 0)) }, "young<old"},
			{func() { source.SetService(shared("oldest", "10.96.0.3", 2*time.Hour)) }, "old<oldest young<oldest"},
			{func() { source.DeleteService(service.Name{Namespace: "default", Name: "old"}) }, "young<oldest"},
			{func() { source.SetService(web("oldest", "10.96.0.3", 0)) }, ""},
			{func() { source.SetService(shared("old", "10.96.0.1", time.Hour)) }, "young<old"},
			{func() { source.DeleteService(service.Name{Namespace: "default", Name: "young"}) }, ""},
		} {
			step.change()
			synctest.Wait()
			if got := observer.losses(); got != step.want {
				t.Errorf("after step %d the losers are %q; want %q:\n%s", i, got, step.want, observer)
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
		expect("when the winner has gone", "KUBE-EXTERNAL-IP-LOCAL KUBE-INTERNAL-MARK KUBE-NO-LOCAL")
		f.source.SetService(winner)
		expect("when it is back", alone)
		f.expectReals(dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("203.0.113.1"), 80), map[string]uint32{"10.1.0.1": 1})
		f.source.DeleteService(loser.Name)
		expect("when the loser has gone", alone)
	})
}

// The port of a NodePort, which is looked up without an address, is treated by the winner's policy, too: else the answers
// of its endpoints elsewhere would not find back.
func TestLoserOfANodePortDoesNotTouchTheWinner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		f.complete()
		winner, loser := web("old", "10.96.0.1", 30080), web("young", "10.96.0.2", 30080)
		loser.Created = winner.Created.Add(time.Hour)
		loser.Policy.ExternalLocal = true
		f.source.SetSlice(slice("old", "10.1.0.1"))
		for _, step := range []struct {
			change func()
			local  bool
		}{
			{func() { f.source.SetService(winner) }, false}, {func() { f.source.SetService(loser) }, false},
			{func() { f.source.DeleteService(winner.Name) }, true}, {func() { f.source.SetService(winner) }, false},
			{func() { f.source.DeleteService(loser.Name) }, false},
		} {
			step.change()
			f.settle(0)
			dump := f.kernel.Dump()
			if got := strings.Contains(dump, "KUBE-NODE-PORT-LOCAL-TCP 30080"); got != step.local || !strings.Contains(dump, "KUBE-NODE-PORT-TCP 30080") {
				t.Fatalf("sources of port 30080 are kept: %v, want %v:\n%s", got, step.local, dump)
			}
		}
	})
}
