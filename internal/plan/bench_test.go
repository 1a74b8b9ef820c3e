package plan_test

import (
	"net/netip"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/plan"
)

// P01: looking at a virtual server with 5,000 real servers once more, when all serve and when all drain.
func BenchmarkLargePool(b *testing.B) {
	serving := web(dataplane.TCP)
	pool := &serving.Pools[0]
	for i := range 5000 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 8080)
		pool.RealServers = append(pool.RealServers, dataplane.RealServer{Addr: addr, Weight: 1})
	}
	draining := web(dataplane.TCP)
	for _, real := range pool.RealServers {
		draining.Pools[0].Listed = append(draining.Pools[0].Listed, real.Addr)
		draining.Pools[0].Leaving = append(draining.Pools[0].Leaving, real.Addr)
	}
	for name, wishes := range map[string][]dataplane.Objects{"serving": {serving}, "draining": {serving, draining}} {
		b.Run(name, func(b *testing.B) {
			x := newBench(nil)
			for _, wish := range wishes {
				x.want(wish)
				x.run()
			}
			keys := dataplane.NewKeys()
			keys.VirtualServers[pool.Key] = struct{}{}
			for b.Loop() {
				if ops := x.planner.Plan(plan.Request{Keys: keys, Desired: x.ledger, Now: x.now}); len(ops) > 0 {
					b.Fatalf("%d operations; want none", len(ops))
				}
			}
		})
	}
}
