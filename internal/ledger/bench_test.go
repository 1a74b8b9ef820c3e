package ledger_test

import (
	"fmt"
	"net/netip"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
)

// wish is what the Service number i wants, with so many endpoints.
func wish(i, endpoints int) dataplane.Objects {
	vip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
	pool := dataplane.Pool{VirtualServer: dataplane.VirtualServer{Key: dataplane.KeyOf(dataplane.TCP, vip, 80), Scheduler: "rr", MaskBits: 32}}
	objects := dataplane.Objects{Addresses: []netip.Addr{vip},
		Entries: []dataplane.Entry{{Set: "KUBE-CLUSTER-IP", Addr: vip, Protocol: dataplane.TCP, Port: 80}}}
	for e := range endpoints {
		addr := netip.AddrFrom4([4]byte{10, byte(128 + i>>12), byte(i >> 4), byte(i<<4 + e)})
		pool.RealServers = append(pool.RealServers, dataplane.RealServer{Addr: netip.AddrPortFrom(addr, 8080), Weight: 1})
		objects.Entries = append(objects.Entries, dataplane.Entry{Set: "KUBE-LOOP-BACK", Addr: addr, Protocol: dataplane.TCP, Port: 8080,
			Peer: netip.PrefixFrom(addr, 32)})
	}
	objects.Pools = []dataplane.Pool{pool}
	return objects
}

func numberedOwner(i int) ledger.Owner { return owner(fmt.Sprint("default/svc-", i), i) }

// filled returns a ledger in which so many Services want ten endpoints each.
func filled(services int) *ledger.Ledger {
	l := ledger.New(dataplane.Exceptions{"KUBE-EXEMPT": "KUBE-CLUSTER-IP"})
	changes := dataplane.NewKeys()
	for i := range services {
		l.Replace(numberedOwner(i), wish(i, 10), changes)
	}
	return l
}

// changer makes one Service of a filled ledger want eleven endpoints, or ten again, and reports what changed.
func changer(services int) func() dataplane.Keys {
	l := filled(services)
	who, wishes, turn := numberedOwner(services/2), [2]dataplane.Objects{wish(services/2, 11), wish(services/2, 10)}, 0
	return func() dataplane.Keys {
		changes := dataplane.NewKeys()
		l.Replace(who, wishes[turn%2], changes)
		turn++
		return changes
	}
}

// The cost of a change to one Service must be the same however many others there are.
func BenchmarkReplaceOne(b *testing.B) {
	for _, services := range []int{100, 10_000} {
		b.Run(fmt.Sprint("services=", services), func(b *testing.B) {
			change := changer(services)
			b.ReportAllocs()
			for b.Loop() {
				if n := change().Len(); n != 2 {
					b.Fatalf("%d keys changed, want the virtual server and one entry", n)
				}
			}
		})
	}
}

func BenchmarkFill10000(b *testing.B) {
	wishes := make([]dataplane.Objects, 10_000)
	for i := range wishes {
		wishes[i] = wish(i, 10)
	}
	b.ReportAllocs()
	for b.Loop() {
		l, changes := ledger.New(nil), dataplane.NewKeys()
		for i, objects := range wishes {
			l.Replace(numberedOwner(i), objects, changes)
		}
	}
}

// P01, invariant 1: what a change yields and what it allocates does not depend on the number of Services.
func TestP01WorkOfAChangeDoesNotGrow(t *testing.T) {
	few, many := changer(100), changer(10_000)
	allocations := func(change func() dataplane.Keys) float64 {
		return testing.AllocsPerRun(200, func() {
			if n := change().Len(); n != 2 {
				t.Fatalf("%d keys changed, want the virtual server and one entry", n)
			}
		})
	}
	if a, b := allocations(few), allocations(many); b > 1.1*a {
		t.Errorf("a change allocates %.0f times among 100 Services and %.0f times among 10,000", a, b)
	}
}
