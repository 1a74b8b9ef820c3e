package ipvs_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
)

// scales are the numbers of virtual servers, with ten real servers each.
func scales() []int { return []int{1000, 5000} }

func manyPools(n int) []dataplane.Operation {
	var ops []dataplane.Operation
	for i := range n {
		k := dataplane.KeyOf(dataplane.TCP, netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 80)
		ops = append(ops, op(dataplane.Add, vs(k, "rr")))
		for j := range 10 {
			id := i*10 + j
			addr := netip.AddrFrom4([4]byte{10, byte(128 + id>>16), byte(id >> 8), byte(id)})
			m := dataplane.Member{VirtualServer: k, RealServer: dataplane.RealServer{Addr: netip.AddrPortFrom(addr, 8080), Weight: 1}}
			ops = append(ops, op(dataplane.Add, m))
		}
	}
	return ops
}

// Every iteration works in a namespace of its own: the kernel searches what was deleted before on every addition.
func BenchmarkKernelProgram(b *testing.B) {
	kerneltest.NeedLab(b)
	for _, n := range scales() {
		ops := manyPools(n)
		b.Run(fmt.Sprintf("%dx10", n), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				d := openFresh(b)
				b.StartTimer()
				mustApply(b, d, ops...)
			}
			b.ReportMetric(float64(len(ops)*b.N)/b.Elapsed().Seconds(), "ops/s")
		})
		b.Run(fmt.Sprintf("%dx10-again", n), func(b *testing.B) {
			d := openFresh(b)
			mustApply(b, d, ops...)
			b.ResetTimer()
			for range b.N {
				mustApply(b, d, ops...)
			}
			b.ReportMetric(float64(len(ops)*b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}

func BenchmarkKernelPools(b *testing.B) {
	kerneltest.NeedLab(b)
	for _, n := range scales() {
		b.Run(fmt.Sprintf("%dx10", n), func(b *testing.B) {
			d := openFresh(b)
			mustApply(b, d, manyPools(n)...)
			b.ResetTimer()
			for range b.N {
				if pools, _, err := d.Pools(context.Background()); err != nil || len(pools) != n {
					b.Fatalf("%d virtual servers, %v", len(pools), err)
				}
			}
			b.ReportMetric(float64(n*11*b.N)/b.Elapsed().Seconds(), "objects/s")
		})
	}
}
