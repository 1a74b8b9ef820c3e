package plan

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// The sorted list does what a map does.
func TestRealsAreAMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var list, others reals
	want, wantOthers := map[netip.AddrPort]dataplane.RealServer{}, map[netip.AddrPort]dataplane.RealServer{}
	for range 2000 {
		n := byte(random.IntN(40))
		real := dataplane.RealServer{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n / 2}), uint16(n%2)), Weight: uint32(random.IntN(3))}
		switch random.IntN(4) {
		case 0:
			list.put(real)
			want[real.Addr] = real
		case 1:
			list.drop(real.Addr)
			delete(want, real.Addr)
		case 2:
			others.put(real)
			wantOthers[real.Addr] = real
		default:
			list.as(others, map[netip.AddrPort]struct{}{real.Addr: {}})
			keep(wantOthers, want, map[netip.AddrPort]struct{}{real.Addr: {}})
		}
		got, found := list.get(real.Addr)
		if expected, ok := want[real.Addr]; got != expected || found != ok || list.has(real.Addr) != ok {
			t.Fatalf("%v: %v, %v; want %v, %v", real.Addr, got, found, expected, ok)
		}
		var all []dataplane.RealServer
		for _, real := range want {
			all = append(all, real)
		}
		if !list.sameAs(all) || list.sameAs(append(all, dataplane.RealServer{})) || len(all) > 0 && list.sameAs(all[1:]) {
			t.Fatalf("%v for %v", list, all)
		}
		if !slices.IsSortedFunc(list, func(a, b dataplane.RealServer) int { return a.Addr.Compare(b.Addr) }) {
			t.Fatalf("not sorted: %v", list)
		}
	}
}
