package kerneltest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
)

func TestFakeConforms(t *testing.T) {
	Conformance(t, func(*testing.T) (kernel.Kernel, World) {
		fake := NewFake()
		return fake, fake
	})
}

// A Faulty without faults is the kernel itself.
func TestHealthyFaultyConforms(t *testing.T) {
	Conformance(t, func(*testing.T) (kernel.Kernel, World) {
		fake := NewFake()
		return NewFaulty(fake, 1, Faults{}), fake
	})
}

func founded(t *testing.T, schedulers ...string) *Fake {
	t.Helper()
	fake := NewFake(schedulers...)
	if _, err := fake.EnsureFoundation(context.Background(), testFoundation()); err != nil {
		t.Fatal(err)
	}
	return fake
}

func TestFakeKeepsInsertionOrderAndConnections(t *testing.T) {
	fake := founded(t)
	web := serverAt(dataplane.TCP, "10.96.0.10:80")
	var ops []dataplane.Operation
	ops = append(ops, dataplane.Operation{Verb: dataplane.Add, Object: web})
	for _, at := range []string{"10.1.0.3:80", "10.1.0.1:80", "10.1.0.2:80"} {
		ops = append(ops, dataplane.Operation{Verb: dataplane.Add, Object: memberOf(web, at, 0)})
	}
	for _, err := range fake.Apply(context.Background(), ops) {
		if err != nil {
			t.Fatal(err)
		}
	}
	first := netip.MustParseAddrPort("10.1.0.3:80")
	if err := fake.SetConnections(web.Key, first, 7); err != nil {
		t.Fatal(err)
	}
	snapshot, err := fake.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got := snapshot.Pools[0].RealServers; len(got) != 3 || got[0].Addr != first || got[2].Addr.Addr() != netip.MustParseAddr("10.1.0.2") {
		t.Errorf("order %v", got)
	}
	if got := snapshot.Connections[web.Key][first]; got != 7 {
		t.Errorf("%d connections, want 7", got)
	}
	fake.Apply(context.Background(), []dataplane.Operation{{Verb: dataplane.Delete, Object: memberOf(web, "10.1.0.3:80", 0)}})
	if err := fake.SetConnections(web.Key, first, 7); !errors.Is(err, dataplane.ErrNotExist) {
		t.Errorf("connections of a deleted server: %v", err)
	}
}

func TestFakeRecords(t *testing.T) {
	fake := founded(t, "rr")
	web := serverAt(dataplane.UDP, "10.96.0.10:53")
	lc := web
	lc.Scheduler = "lc"
	flows := dataplane.Flows{VirtualServer: web.Key, RealServer: netip.MustParseAddrPort("10.1.0.1:53")}
	fake.Apply(context.Background(), []dataplane.Operation{{Verb: dataplane.Add, Object: web}, {Verb: dataplane.Edit, Object: lc}})
	fake.Apply(context.Background(), []dataplane.Operation{{Verb: dataplane.Delete, Object: flows}})
	if err := fake.ByHand(dataplane.Operation{Verb: dataplane.Add, Object: address("10.96.0.10")}); err != nil {
		t.Fatal(err)
	}
	log := fake.Log()
	if len(log) != 3 || log[0] != "ipvsadm -A -u 10.96.0.10:53 -s rr" || !strings.HasSuffix(log[1], dataplane.ErrNoScheduler.Error()) {
		t.Errorf("log %q", log)
	}
	counts := fake.Counts()
	if counts.Batches != 2 || counts.Foundations != 1 || counts.Operations[OperationKind{dataplane.Edit, "virtual server"}] != 1 ||
		counts.Operations[OperationKind{dataplane.Delete, "flows"}] != 1 {
		t.Errorf("counts %+v", counts)
	}
	if got := fake.DeletedFlows(); !slices.Equal(got, []dataplane.Flows{flows}) {
		t.Errorf("flows %v", got)
	}
	if fake.ResetRecord(); len(fake.Log()) != 0 || fake.Counts().Batches != 0 {
		t.Error("the record survived its reset")
	}
}

func TestFakeFillsSets(t *testing.T) {
	fake := founded(t)
	fake.LimitSets(1)
	add := func(addr string) error {
		entry := dataplane.Entry{Set: setSmall, Addr: netip.MustParseAddr(addr)}
		return fake.Apply(context.Background(), []dataplane.Operation{{Verb: dataplane.Add, Object: entry}})[0]
	}
	if err := errors.Join(add("10.0.0.1"), add("10.0.0.2"), add("10.0.0.2")); err != nil {
		t.Error(err)
	}
	if err := add("10.0.0.3"); !errors.Is(err, dataplane.ErrSetFull) {
		t.Errorf("a third entry in a set for two: %v", err)
	}
	fake.LimitSets(3)
	if err := add("10.0.0.3"); err != nil {
		t.Errorf("after the limit was raised: %v", err)
	}
}

func TestFakeRefusesForeignDevice(t *testing.T) {
	fake := NewFake()
	fake.PutDevice("bridge")
	if _, err := fake.EnsureFoundation(context.Background(), testFoundation()); !errors.Is(err, dataplane.ErrConflict) {
		t.Errorf("foundation: %v", err)
	}
	if _, err := fake.Snapshot(context.Background()); !errors.Is(err, dataplane.ErrConflict) {
		t.Errorf("snapshot: %v", err)
	}
}

func TestFakeProtectsSetsInUse(t *testing.T) {
	fake := founded(t)
	if err := fake.DropSet(setPort); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("destroying a set in use: %v", err)
	}
	fake.DropRules(dataplane.IPv4)
	if err := fake.DropSet(setPort); err != nil {
		t.Errorf("destroying a set no rule uses: %v", err)
	}
	if _, err := fake.Snapshot(context.Background()); !errors.Is(err, dataplane.ErrNotExist) {
		t.Errorf("snapshot without a set: %v", err)
	}
	repaired, err := fake.EnsureFoundation(context.Background(), testFoundation())
	if err != nil || len(repaired) != 2 {
		t.Errorf("repaired %q, %v; want the set and the rules", repaired, err)
	}
}

func TestFakeRefusesBadRules(t *testing.T) {
	breakages := map[string]func(*dataplane.Ruleset){
		"absent set": func(r *dataplane.Ruleset) {
			r.Chains[0].Rules[0].Matches[0] = dataplane.MatchSet{Set: "NONE", Fields: "dst"}
		},
		"too few": func(r *dataplane.Ruleset) {
			r.Chains[0].Rules[0].Matches[0] = dataplane.MatchSet{Set: setPort, Fields: "dst"}
		},
		"other family": func(r *dataplane.Ruleset) {
			r.Chains[0].Rules[0].Matches[0] = dataplane.MatchSet{Set: setSix, Fields: "dst,dst"}
		},
		"absent chain":  func(r *dataplane.Ruleset) { r.Chains[0].Rules[0].Action = dataplane.GoTo{Chain: "NONE"} },
		"absent jump":   func(r *dataplane.Ruleset) { r.Jumps[0].To = "NONE" },
		"not built in":  func(r *dataplane.Ruleset) { r.Jumps[0].From = "FORWARD" },
		"reject in nat": func(r *dataplane.Ruleset) { r.Chains[0].Rules[0].Action = dataplane.Reject{} },
		"mark in nat": func(r *dataplane.Ruleset) {
			r.Chains[0].Rules[0].Action = dataplane.SetMarkFrom{Set: setMarks, Fields: "dst,dst"}
		},
		"no action":    func(r *dataplane.Ruleset) { r.Chains[0].Rules[0].Action = nil },
		"long comment": func(r *dataplane.Ruleset) { r.Chains[0].Rules[0].Comment = strings.Repeat("x", 256) },
	}
	for name, breakage := range breakages {
		t.Run(name, func(t *testing.T) {
			foundation := testFoundation()
			breakage(&foundation.Rulesets[0])
			if _, err := NewFake().EnsureFoundation(context.Background(), foundation); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestFakeCloses(t *testing.T) {
	fake := founded(t)
	if err := fake.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fake.Snapshot(context.Background()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("snapshot: %v", err)
	}
	if errs := fake.Apply(context.Background(), []dataplane.Operation{{Verb: dataplane.Add, Object: address("10.0.0.1")}}); !errors.Is(errs[0], os.ErrClosed) {
		t.Errorf("apply: %v", errs)
	}
}

func TestFakeIsConcurrent(t *testing.T) {
	fake := founded(t)
	ctx, cancel := context.WithCancel(context.Background())
	events, err := fake.Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 20 {
				addr := address(fmt.Sprintf("10.0.%d.%d", i, j))
				fake.Apply(ctx, []dataplane.Operation{{Verb: dataplane.Add, Object: addr}})
				_, _ = fake.Snapshot(ctx)
			}
		})
	}
	for range 8 * 20 {
		if event := <-events; event.Kind != dataplane.BoundAddressAdded {
			t.Errorf("event %+v", event)
		}
	}
	group.Wait()
	cancel()
	for range events { // closed once the context ended
	}
	if got := len(fake.Objects().Addresses); got != 160 {
		t.Errorf("%d addresses", got)
	}
}
