package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
)

// contenders are what each owner wants, by name.
type contenders map[string]struct {
	created time.Time
	objects dataplane.Objects
}

// winner returns the name of the owner that the virtual server goes to, empty for none.
func (c contenders) winner(key dataplane.VirtualServerKey) string {
	best := ""
	for name, one := range c {
		for _, p := range one.objects.Pools {
			older := best == "" || one.created.Before(c[best].created) || one.created.Equal(c[best].created) && name < best
			if p.Key == key && older {
				best = name
			}
		}
	}
	return best
}

// entries returns all but those of losers.
func (c contenders) entries() map[dataplane.Entry]bool {
	out := map[dataplane.Entry]bool{}
	for name, one := range c {
		for _, e := range one.objects.Entries {
			key := dataplane.KeyOf(e.Protocol, e.Addr, e.Port)
			contends := slices.ContainsFunc(one.objects.Pools, func(p dataplane.Pool) bool { return p.Key == key })
			if !contends || c.winner(key) == name {
				out[e] = true
			}
		}
	}
	return out
}

func randomContention(random *rand.Rand) dataplane.Objects {
	var objects dataplane.Objects
	for port := uint16(80); port < 83; port++ {
		if random.IntN(3) > 0 {
			objects.Pools = append(objects.Pools, pool(port, "rr"))
		}
		for _, set := range []string{"KUBE-EXTERNAL-IP", "KUBE-NO-ENDPOINTS"} {
			if random.IntN(2) == 0 {
				objects.Entries = append(objects.Entries, dataplane.Entry{Set: set, Addr: netip.MustParseAddr("10.96.0.1"),
					Protocol: dataplane.TCP, Port: port})
			}
		}
	}
	return objects
}

// The entries about a virtual server are those of the owner that it goes to, whoever else wants it; and every entry that
// comes or goes by that is reported.
func TestEntriesFollowTheWinner(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	l, all, before := ledger.New(nil), contenders{}, map[dataplane.Entry]bool{}
	for step := range 3000 {
		o := owner(fmt.Sprint("svc", random.IntN(4)), random.IntN(3)) // sometimes created anew
		one := all[o.Name]
		one.created, one.objects = o.Created, randomContention(random)
		if random.IntN(4) == 0 {
			one.objects = dataplane.Objects{}
		}
		all[o.Name] = one
		changes, after := replace(l, o, one.objects), map[dataplane.Entry]bool{}
		for _, e := range l.Objects().Entries {
			after[e] = true
		}
		want := all.entries()
		for _, e := range entriesIn(want, after, before) {
			if after[e] != want[e] {
				t.Fatalf("step %d: wanted %v: %s; the winner %q says %v", step, after[e], e,
					all.winner(dataplane.KeyOf(e.Protocol, e.Addr, e.Port)), want[e])
			}
			if _, reported := changes.Entries[e]; after[e] != before[e] && !reported {
				t.Fatalf("step %d: %s changed to %v unreported", step, e, after[e])
			}
		}
		before = after
	}
}

func entriesIn(sets ...map[dataplane.Entry]bool) []dataplane.Entry {
	var out []dataplane.Entry
	for _, set := range sets {
		for e := range set {
			out = append(out, e)
		}
	}
	return out
}

// What an owner lost is exactly what it wants and somebody of higher precedence does, too, in the order of its wishes.
func TestLost(t *testing.T) {
	l := ledger.New(nil)
	oldest, older, young := owner("c", 2), owner("b", 1), owner("a", 1)
	replace(l, young, dataplane.Objects{Pools: []dataplane.Pool{pool(82, "rr"), pool(80, "rr"), pool(81, "rr")}})
	replace(l, older, dataplane.Objects{Pools: []dataplane.Pool{pool(80, "rr"), pool(82, "rr")}})
	expect := func(who ledger.Owner, want string) {
		t.Helper()
		var got []string
		for _, loss := range l.Lost(who.Name) {
			got = append(got, fmt.Sprint(loss.Key.Port, " to ", loss.Winner.Name))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s lost %v, want %s", who.Name, got, want)
		}
	}
	expect(young, "[]") // as old as the other, and first by name
	expect(older, "[80 to a 82 to a]")
	replace(l, oldest, dataplane.Objects{Pools: []dataplane.Pool{pool(80, "rr"), pool(81, "rr")}})
	expect(young, "[80 to c 81 to c]")
	expect(older, "[80 to c 82 to a]")
	expect(oldest, "[]")
	replace(l, oldest, dataplane.Objects{})
	replace(l, young, dataplane.Objects{})
	expect(older, "[]")
	expect(young, "[]")
}
