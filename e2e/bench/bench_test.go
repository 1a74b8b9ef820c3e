package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

func TestQuantileIsAValueThatOccurred(t *testing.T) {
	values := []int{10, 20, 30, 40}
	for share, want := range map[float64]int{0: 10, 0.25: 10, 0.5: 20, 0.75: 30, 0.99: 40, 1: 40} {
		if got := quantile(values, share); got != want {
			t.Errorf("quantile(%v, %v) = %d, want %d", values, share, got, want)
		}
	}
	if got := quantile([]int(nil), 0.5); got != 0 {
		t.Errorf("the median of nothing = %d, want 0", got)
	}
}

func TestSizes(t *testing.T) {
	got, err := parseSizes("1000x10,5x200")
	if diff := cmp.Diff([]size{{1000, 10}, {5, 200}}, got); diff != "" || err != nil {
		t.Errorf("sizes (-want +got):\n%s%v", diff, err)
	}
	for _, wrong := range []string{"10", "10x", "10x10,", "10x10x10", "0x10", "10x3", "10x255", "16385x10", "-1x10"} {
		if sizes, err := parseSizes(wrong); err == nil {
			t.Errorf("%q is taken for %v", wrong, sizes)
		}
	}
	if got, err := parseCounts("10,16384"); !cmp.Equal(got, []size{{10, 1}, {16384, 1}}) || err != nil {
		t.Errorf("counts %v, %v", got, err)
	}
	for _, wrong := range []string{"0", "16385", "10x1", "10,", "ten"} {
		if sizes, err := parseCounts(wrong); err == nil {
			t.Errorf("%q is taken for %v", wrong, sizes)
		}
	}
	for what, parse := range map[string]func(string) ([]size, error){"sizes": parseSizes, "counts": parseCounts} {
		if got, err := parse(""); len(got) != 0 || err != nil {
			t.Errorf("no %s are taken for %v, %v", what, got, err)
		}
	}
}

func TestEndpointAddressesDiffer(t *testing.T) {
	seen := map[string]bool{}
	const services, endpoints = mostServices, 20
	for service := range services {
		for endpoint := range endpoints {
			seen[endpointAddr(service, endpoint).String()] = true
		}
	}
	if len(seen) != services*endpoints {
		t.Errorf("%d addresses for %d endpoints", len(seen), services*endpoints)
	}
	if seen[backendAddr().String()] {
		t.Errorf("%v is an endpoint of other Services, too", backendAddr())
	}
}

func TestHeapIsReadFromMetrics(t *testing.T) {
	const metrics = `# HELP go_memstats_mallocs_total Total number of heap objects allocated.
# TYPE go_memstats_mallocs_total counter
go_memstats_mallocs_total 1.25e+06
go_memstats_alloc_bytes 17
go_memstats_alloc_bytes_total 4096
kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"} 3
`
	got, err := parseHeap(strings.NewReader(metrics))
	if want := (heap{1250000, 4096}); got != want || err != nil {
		t.Errorf("heap %v, %v, want %v", got, err, want)
	}
	if got, err := parseHeap(strings.NewReader("go_memstats_mallocs_total 7\n")); err == nil {
		t.Errorf("metrics without bytes are taken for %v", got)
	}
}

func TestContestantsOfEachMeasurement(t *testing.T) {
	for _, test := range []struct {
		in   kinds
		want []string
	}{
		{scaling, []string{self, kubeIPVS, kubeNFT, floor}},
		{direct, []string{self, kubeIPVS, kubeNFT, nothing, smallest, smallestOwn}},
		{throughVIP, []string{self, kubeIPVS, kubeNFT, smallestOwn}},
	} {
		if diff := cmp.Diff(test.want, namesTaking(test.in)); diff != "" {
			t.Errorf("contestants of %d (-want +got):\n%s", test.in, diff)
		}
	}
	slow := contestant{name: kubeIPVS}
	for s, want := range map[size]int{{1000, 10}: 3, {5000, 10}: 1, {1000, 100}: 1, {10000, 10}: 0} {
		if got := slow.rounds(s, 3); got != want {
			t.Errorf("%d rounds of %s at %s, want %d", got, slow.name, s, want)
		}
	}
	if _, err := chosen("floor,flour"); err == nil {
		t.Error("flour is a contestant")
	}
}

func TestChosenAmongCountsEndpoints(t *testing.T) {
	protocol := &nftables.Rule{Exprs: []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}}}
	for want, rules := range map[int][]*nftables.Rule{
		0: {protocol},
		1: {protocol, {Exprs: []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT}}}},
		7: {protocol, {Exprs: []expr.Any{&expr.Numgen{Modulus: 7}, &expr.NAT{Type: expr.NATTypeDestNAT}}}},
	} {
		if got := chosenAmong(rules); got != want {
			t.Errorf("%d endpoints, want %d", got, want)
		}
	}
}

func TestStoreKeepsWhatIsWritten(t *testing.T) {
	s := store{filepath.Join(t.TempDir(), "state")}
	if all, err := s.all(); len(all) != 0 || err != nil {
		t.Errorf("before anything is written: %v, %v", all, err)
	}
	want := record{size: size{5, 10}, Contestant: self, Round: 2, Origin: origin{Begun: time.Unix(1e9, 0).UTC(), Kernel: "6.12"},
		Result: &measurement{Single: load{Changes: 1, Lags: []time.Duration{time.Second}}}}
	path := record{size: size{10, 1}, Round: 1, Path: &dataPath{Flows: []flow{{Contestant: nothing, Way: direct, Median: 7}}}}
	for _, r := range []record{want, path} {
		if err := s.write(r); err != nil {
			t.Fatal(err)
		}
	}
	got, found, err := s.read("5x10-kube-ipvs-proxy-2")
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(record{})); diff != "" || !found || err != nil {
		t.Errorf("found %v, %v, (-want +got):\n%s", found, err, diff)
	}
	if _, found, err := s.read("5x10-kube-ipvs-proxy-1"); found || err != nil {
		t.Errorf("a round that was not written: %v, %v", found, err)
	}
	all, err := s.all()
	if diff := cmp.Diff([]record{path, want}, all, cmp.AllowUnexported(record{})); diff != "" || err != nil {
		t.Errorf("%v, all (-want +got):\n%s", err, diff)
	}
}

func TestDataPathIsMeasuredAgainForWhoIsMissing(t *testing.T) {
	d := &dataPath{Flows: []flow{{Contestant: self}}, LeftOut: map[string]string{kubeIPVS: "too slow"}}
	for names, want := range map[string]bool{self: true, self + "," + kubeIPVS: true, self + "," + smallest: false} {
		all, err := chosen(names)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.covers(all); got != want {
			t.Errorf("covers %s: %v, want %v", names, got, want)
		}
	}
}
