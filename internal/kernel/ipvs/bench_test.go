package ipvs_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

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

// BenchmarkKernelProgramOneByOne is what is gained by packing: a request and an answer for each operation, by moby/ipvs.
func BenchmarkKernelProgramOneByOne(b *testing.B) {
	ops := manyPools(1000)
	for range b.N {
		b.StopTimer()
		kerneltest.NeedLab(b)
		kerneltest.Netns(b)
		handle, err := moby.New("")
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		for _, op := range ops {
			if err := oneByOne(handle, op.Object); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		handle.Close()
	}
	b.ReportMetric(float64(len(ops)*b.N)/b.Elapsed().Seconds(), "ops/s")
}

func oneByOne(handle *moby.Handle, object dataplane.Object) error {
	service := func(k dataplane.VirtualServerKey) *moby.Service {
		return &moby.Service{Address: k.Addr.AsSlice(), Protocol: uint16(k.Protocol), Port: k.Port, SchedName: "rr",
			Netmask: 0xffffffff, AddressFamily: unix.AF_INET}
	}
	switch x := object.(type) {
	case dataplane.VirtualServer:
		return handle.NewService(service(x.Key))
	case dataplane.Member:
		return handle.NewDestination(service(x.VirtualServer),
			&moby.Destination{Address: x.Addr.Addr().AsSlice(), Port: x.Addr.Port(), Weight: int(x.Weight)})
	}
	return fmt.Errorf("%T is no object of IPVS", object)
}
