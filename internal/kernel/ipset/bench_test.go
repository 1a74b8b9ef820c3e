package ipset_test

import (
	"context"
	"fmt"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// BenchmarkApply writes entries to an empty set and takes them away again.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{10_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d, _ := open(b)
			ensure(b, d, hashSet("S", dataplane.HashIPPort, dataplane.IPv4))
			entries := numbered("S", n)
			both := [][]dataplane.Operation{operations(dataplane.Add, entries...), operations(dataplane.Delete, entries...)}
			for b.Loop() {
				for _, batch := range both {
					for i, err := range d.Apply(context.Background(), batch) {
						if err != nil {
							b.Fatal(i, err)
						}
					}
				}
			}
			b.ReportMetric(float64(2*n*b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}

// BenchmarkEntries reads a set.
func BenchmarkEntries(b *testing.B) {
	const n = 50_000
	d, _ := open(b)
	ensure(b, d, hashSet("S", dataplane.HashIPPort, dataplane.IPv4))
	apply(b, d, dataplane.Add, numbered("S", n)...)
	for b.Loop() {
		if got := entriesOf(b, d, "S"); len(got) != n {
			b.Fatal(len(got))
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "entries/s")
}
