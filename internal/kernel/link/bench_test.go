package link

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// many returns operations on n IPv4 addresses.
func many(verb dataplane.Verb, n int) []dataplane.Operation {
	ops := make([]dataplane.Operation, n)
	for i := range ops {
		var addr [4]byte
		binary.BigEndian.PutUint32(addr[:], 10<<24+96<<16+uint32(i)+1)
		ops[i] = dataplane.Operation{Verb: verb, Object: dataplane.Address{Addr: netip.AddrFrom4(addr)}}
	}
	return ops
}

// BenchmarkApply binds 10,000 addresses and takes them away again.
func BenchmarkApply(b *testing.B) {
	d := ensured(b)
	add, remove := many(dataplane.Add, 10_000), many(dataplane.Delete, 10_000)
	for b.Loop() {
		succeed(b, d.Apply(b.Context(), add))
		succeed(b, d.Apply(b.Context(), remove))
	}
	b.ReportMetric(float64(2*len(add)*b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkAddresses reads 10,000 addresses.
func BenchmarkAddresses(b *testing.B) {
	d := ensured(b)
	succeed(b, d.Apply(b.Context(), many(dataplane.Add, 10_000)))
	for b.Loop() {
		if got, err := d.Addresses(b.Context()); err != nil || len(got) != 10_000 {
			b.Fatalf("%d addresses, %v", len(got), err)
		}
	}
	b.ReportMetric(float64(10_000*b.N)/b.Elapsed().Seconds(), "addresses/s")
}
