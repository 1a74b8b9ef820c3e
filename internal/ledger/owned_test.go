package ledger_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
)

// What is owned is what is wanted, each object with the one of its owners that counts.
func TestOwnedIsWhatCounts(t *testing.T) {
	l := ledger.New(nil)
	addr := netip.MustParseAddr("10.96.0.1")
	entry := dataplane.Entry{Set: "S", Addr: addr, Protocol: dataplane.TCP, Port: 80}
	young := dataplane.Objects{Pools: []dataplane.Pool{pool(80, "rr"), pool(81, "rr")}, Addresses: []netip.Addr{addr}, Entries: []dataplane.Entry{entry}}
	marked := entry
	marked.Mark = 5
	old := dataplane.Objects{Pools: []dataplane.Pool{pool(80, "lc"), {VirtualServer: pool(82, "").VirtualServer, Reserved: true}},
		Addresses: []netip.Addr{addr}, Entries: []dataplane.Entry{marked}}
	replace(l, owner("young", 1), young)
	replace(l, owner("old", 2), old)
	owned := l.Owned()
	if diff := cmp.Diff(l.Objects().Dump(), owned.Dump()); diff != "" {
		t.Errorf("owned differs from what is wanted (-want +got):\n%s", diff)
	}
	got := map[string]string{}
	for i, p := range owned.Pools {
		got[p.VirtualServer.String()] = owned.PoolOwners[i].Name
	}
	for i, a := range owned.Addresses {
		got[a.String()] = owned.AddressOwners[i].Name
	}
	for i, e := range owned.Entries {
		got[e.String()] = owned.EntryOwners[i].Name
	}
	want := map[string]string{"-A -t 10.96.0.1:80 -s lc": "old", "-A -t 10.96.0.1:81 -s rr": "young", "10.96.0.1": "old", marked.String(): "old"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
}

func BenchmarkOwned10000(b *testing.B) {
	l := filled(10_000)
	b.ReportAllocs()
	for b.Loop() {
		if owned := l.Owned(); len(owned.Pools) != 10_000 {
			b.Fatal(len(owned.Pools))
		}
	}
}
