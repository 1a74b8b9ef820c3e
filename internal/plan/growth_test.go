package plan_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/plan"
)

// wish is what the Service number i wants, with so many endpoints.
func wish(i, endpoints int) dataplane.Objects {
	vip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
	pool := dataplane.Pool{VirtualServer: dataplane.VirtualServer{Key: dataplane.KeyOf(dataplane.TCP, vip, 80), Scheduler: "rr", MaskBits: 32}}
	for e := range endpoints {
		addr := netip.AddrFrom4([4]byte{10, byte(128 + i>>12), byte(i >> 4), byte(i<<4 + e)})
		pool.RealServers = append(pool.RealServers, dataplane.RealServer{Addr: netip.AddrPortFrom(addr, 8080), Weight: 1})
	}
	return dataplane.Objects{Pools: []dataplane.Pool{pool}, Addresses: []netip.Addr{vip},
		Entries: []dataplane.Entry{{Set: "KUBE-CLUSTER-IP", Addr: vip, Protocol: dataplane.TCP, Port: 80}}}
}

// world is a ledger of many Services, and how often it was asked for one of its objects.
type world struct {
	*ledger.Ledger
	asked int
}

func (w *world) Pool(key dataplane.VirtualServerKey) (dataplane.Pool, bool) {
	w.asked++
	return w.Ledger.Pool(key)
}

func (w *world) Address(addr netip.Addr) bool {
	w.asked++
	return w.Ledger.Address(addr)
}

func (w *world) Entry(key dataplane.Entry) (dataplane.Entry, bool) {
	w.asked++
	return w.Ledger.Entry(key)
}

func newWorld(services, endpoints int) *world {
	w := &world{Ledger: ledger.New(nil)}
	for i := range services {
		w.want(i, endpoints)
	}
	return w
}

// want makes the Service number i want so many endpoints and returns what changed.
func (w *world) want(i, endpoints int) dataplane.Keys {
	changes := dataplane.NewKeys()
	w.Replace(ledger.Owner{Name: fmt.Sprint("svc-", i)}, wish(i, endpoints), changes)
	return changes
}

func newPlanner() *plan.Planner {
	return plan.New(plan.Options{DrainTimeout: 15 * time.Minute, Ours: func(dataplane.VirtualServerKey) bool { return true },
		Exceptions: dataplane.Exceptions{"KUBE-EXEMPT": "KUBE-CLUSTER-IP"}, Refusals: map[string]struct{}{"KUBE-NO-ENDPOINTS": {}}})
}

// carryOut plans, confirms every operation and returns how many there were.
func carryOut(p *plan.Planner, w *world, keys dataplane.Keys) int {
	operations := p.Plan(plan.Request{Keys: keys, Desired: w, Now: time.Unix(0, 0)})
	for _, op := range operations {
		p.Confirm(op, nil)
	}
	return len(operations)
}

// changer returns a function that adds a real server to one of many Services in the kernel, or lets it drain, and returns
// the number of operations. Keeping the books is in it.
func changer(services int) (w *world, change func() int) {
	w, p := newWorld(services, 10), newPlanner()
	carryOut(p, w, w.All())
	turn := 0
	return w, func() int {
		keys := w.want(services/2, 11-turn%2)
		turn++
		return carryOut(p, w, keys)
	}
}

// The cost of a change to one Service must be the same however many others there are.
func BenchmarkPlanOne(b *testing.B) {
	for _, services := range []int{100, 10_000} {
		b.Run(fmt.Sprint("services=", services), func(b *testing.B) {
			_, change := changer(services)
			b.ReportAllocs()
			for b.Loop() {
				if n := change(); n != 1 {
					b.Fatalf("%d operations, want one", n)
				}
			}
		})
	}
}

// The start on an empty kernel.
func BenchmarkPlanStart10000(b *testing.B) {
	w := newWorld(10_000, 10)
	keys := w.All()
	b.ReportAllocs()
	for b.Loop() {
		if n := carryOut(newPlanner(), w, keys); n != 10_000*(10+3) {
			b.Fatalf("%d operations", n)
		}
	}
}

// The start on a kernel that is as it should be, and an audit that finds nothing.
func BenchmarkAdoptCorrect10000(b *testing.B) {
	w := newWorld(10_000, 10)
	found, keys := w.Objects(), w.All()
	for name, first := range map[string]bool{"start": true, "audit": false} {
		b.Run(name, func(b *testing.B) {
			p := newPlanner()
			p.Adopt(found)
			b.ReportAllocs()
			for b.Loop() {
				if first {
					p = newPlanner()
				}
				if n := p.Adopt(found).Len(); n != map[bool]int{true: keys.Len(), false: 0}[first] {
					b.Fatalf("%d keys differ", n)
				}
				if n := carryOut(p, w, keys); n != 0 {
					b.Fatalf("%d operations on a correct kernel", n)
				}
			}
		})
	}
}

// P01, invariant 1: what is looked at, planned and allocated for a change does not depend on the number of Services.
func TestP01WorkOfAChangeDoesNotGrow(t *testing.T) {
	measure := func(services int) (asked int, allocated float64) {
		w, change := changer(services)
		for range 2 { // with and without the eleventh
			if n := change(); n != 1 {
				t.Fatalf("%d operations among %d Services, want one", n, services)
			}
		}
		w.asked = 0
		change()
		asked = w.asked
		return asked, testing.AllocsPerRun(200, func() { change() })
	}
	askedFew, few := measure(100)
	askedMany, many := measure(10_000)
	if askedFew != askedMany || askedFew > 2 {
		t.Errorf("a change looks at %d desired objects among 100 Services and at %d among 10,000", askedFew, askedMany)
	}
	if many > 1.1*few {
		t.Errorf("a change allocates %.0f times among 100 Services and %.0f times among 10,000", few, many)
	}
}
