package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func owner(name string, age int) ledger.Owner {
	return ledger.Owner{Name: name, Created: epoch.Add(-time.Duration(age) * time.Hour)}
}

func pool(port uint16, scheduler string) dataplane.Pool {
	return dataplane.Pool{VirtualServer: dataplane.VirtualServer{
		Key: dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.0.1"), port), Scheduler: scheduler, MaskBits: 32}}
}

func replace(l *ledger.Ledger, o ledger.Owner, objects dataplane.Objects) dataplane.Keys {
	changes := dataplane.NewKeys()
	l.Replace(o, objects, changes)
	return changes
}

func TestReplaceYieldsExactlyWhatChanged(t *testing.T) {
	l := ledger.New(nil)
	web := owner("default/web", 1)
	addr := netip.MustParseAddr("10.96.0.1")
	entry := dataplane.Entry{Set: "KUBE-CLUSTER-IP", Addr: addr, Protocol: dataplane.TCP, Port: 80}
	first := dataplane.Objects{Pools: []dataplane.Pool{pool(80, "rr"), pool(81, "rr")}, Addresses: []netip.Addr{addr},
		Entries: []dataplane.Entry{entry}}
	if got := replace(l, web, first).Len(); got != 4 {
		t.Errorf("first wish changed %d keys, want 4", got)
	}
	if got := replace(l, web, first).Len(); got != 0 {
		t.Errorf("the same wish again changed %d keys, want none", got)
	}
	second := first
	second.Pools = []dataplane.Pool{pool(80, "rr"), pool(81, "lc")}
	got := replace(l, web, second)
	if _, ok := got.VirtualServers[pool(81, "").Key]; !ok || got.Len() != 1 {
		t.Errorf("one changed scheduler gave %v, want port 81 only", got)
	}
	if got := replace(l, web, dataplane.Objects{}).Len(); got != 4 {
		t.Errorf("the last wish's end changed %d keys, want 4", got)
	}
	if got := l.All().Len(); got != 0 {
		t.Errorf("%d keys are left, want none", got)
	}
}

// P24: an address stays while any port or Service uses it.
func TestP24SharedAddressStaysUntilTheLastOwnerGoes(t *testing.T) {
	l := ledger.New(nil)
	addr := netip.MustParseAddr("192.0.2.1")
	wish := dataplane.Objects{Addresses: []netip.Addr{addr}}
	replace(l, owner("a", 1), wish)
	if got := replace(l, owner("b", 1), wish).Len(); got != 0 {
		t.Errorf("a second owner changed %d keys, want none", got)
	}
	if got := replace(l, owner("a", 1), dataplane.Objects{}).Len(); got != 0 || !l.Address(addr) {
		t.Errorf("changed %d, wanted %v; want the address to stay for b", got, l.Address(addr))
	}
	if got := replace(l, owner("b", 1), dataplane.Objects{}).Len(); got != 1 || l.Address(addr) {
		t.Errorf("changed %d, wanted %v; want the address gone", got, l.Address(addr))
	}
}

func TestConflictOldestThenNameWins(t *testing.T) {
	l := ledger.New(nil)
	key := pool(80, "").Key
	winner := func() string { p, _ := l.Pool(key); return p.Scheduler }
	replace(l, owner("young", 1), dataplane.Objects{Pools: []dataplane.Pool{pool(80, "rr")}})
	if got := replace(l, owner("old", 5), dataplane.Objects{Pools: []dataplane.Pool{pool(80, "lc")}}); got.Len() != 1 || winner() != "lc" {
		t.Errorf("the older Service did not win: %s", winner())
	}
	if got := replace(l, owner("aaa", 1), dataplane.Objects{Pools: []dataplane.Pool{pool(80, "sh")}}); got.Len() != 0 || winner() != "lc" {
		t.Errorf("a younger Service changed the winner to %s", winner())
	}
	names := []string{}
	for _, o := range l.Owners(key) {
		names = append(names, o.Name)
	}
	if diff := cmp.Diff([]string{"old", "aaa", "young"}, names); diff != "" {
		t.Errorf("order of owners (-want +got):\n%s", diff)
	}
	if got := replace(l, owner("old", 5), dataplane.Objects{}); got.Len() != 1 || winner() != "sh" {
		t.Errorf("after the winner went, %s serves; want sh of the loser next in name", winner())
	}
}

// A Service that is deleted and created again between two looks has a new age, and with it a new precedence.
func TestRecreatedServiceChangesPrecedence(t *testing.T) {
	l := ledger.New(nil)
	key := pool(80, "").Key
	replace(l, owner("a", 5), dataplane.Objects{Pools: []dataplane.Pool{pool(80, "rr")}})
	replace(l, owner("b", 3), dataplane.Objects{Pools: []dataplane.Pool{pool(80, "lc")}})
	replace(l, owner("a", 1), dataplane.Objects{Pools: []dataplane.Pool{pool(80, "rr")}})
	if p, _ := l.Pool(key); p.Scheduler != "lc" {
		t.Errorf("winner has scheduler %s, want lc of b, the older now", p.Scheduler)
	}
}

// Whatever the order of wishes, the ledger holds what a fresh one filled with the last wishes holds, and reports every
// key that differs between two states.
func TestRandomWalkAgainstAFreshLedger(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	l, last := ledger.New(nil), map[ledger.Owner]dataplane.Objects{}
	for range 2000 {
		o := owner(fmt.Sprint("svc", random.IntN(6)), 0)
		wish := randomObjects(random)
		before := l.Objects()
		changes := replace(l, o, wish)
		last[o] = wish
		fresh := ledger.New(nil)
		for o, wish := range last {
			replace(fresh, o, wish)
		}
		if diff := cmp.Diff(fresh.Objects().Dump(), l.Objects().Dump()); diff != "" {
			t.Fatalf("ledger differs from a fresh one:\n%s", diff)
		}
		if (before.Dump() != l.Objects().Dump()) != (changes.Len() > 0) {
			t.Fatalf("%d keys reported as changed, but states before and after:\n%s\n%s", changes.Len(), before.Dump(), l.Objects().Dump())
		}
	}
}

func randomObjects(random *rand.Rand) dataplane.Objects {
	var objects dataplane.Objects
	schedulers := []string{"rr", "lc"}
	for port := range uint16(3) {
		if random.IntN(2) == 0 {
			objects.Pools = append(objects.Pools, pool(80+port, schedulers[random.IntN(2)]))
		}
		if random.IntN(2) == 0 {
			objects.Addresses = append(objects.Addresses, netip.AddrFrom4([4]byte{10, 0, 0, byte(port)}))
			objects.Entries = append(objects.Entries, dataplane.Entry{Set: "S", Port: port, Mark: uint32(random.IntN(2))})
		}
	}
	return objects
}
