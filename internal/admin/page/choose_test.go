package page

import (
	"fmt"
	"net/netip"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// Page by page, all come in the order of their names, each once.
func TestPagesAreThoseOfOneList(t *testing.T) {
	var pools []dataplane.Pool
	var owners []reconcile.Owner
	const all = 10*perPage + 7
	for i := range all {
		addr := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
		pools = append(pools, dataplane.Pool{VirtualServer: dataplane.VirtualServer{Key: dataplane.KeyOf(dataplane.TCP, addr, 80)}})
		owners = append(owners, reconcile.Owner{Service: service.Name{Namespace: "default", Name: fmt.Sprintf("%04d", i*101%all)}})
	}
	next := 0
	for page := 1; page <= 11; page++ {
		var c chosen
		for _, i := range c.from(query{page: page}, pools, owners) {
			if want := fmt.Sprintf("%04d", next); owners[i].Service.Name != want {
				t.Fatalf("page %d has %s, want %s", page, owners[i].Service.Name, want)
			}
			next++
		}
		if c != (chosen{page: page, pages: 11, matching: all, of: all}) {
			t.Errorf("page %d: %+v", page, c)
		}
	}
	if next != all {
		t.Errorf("%d of %d are on the pages", next, all)
	}
}

// What a page costs beside what it shows, with 20,000 virtual servers.
func BenchmarkChoose20000(b *testing.B) {
	var pools []dataplane.Pool
	var owners []reconcile.Owner
	for i := range 20_000 {
		addr := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
		pools = append(pools, dataplane.Pool{VirtualServer: dataplane.VirtualServer{Key: dataplane.KeyOf(dataplane.TCP, addr, 80)}})
		owners = append(owners, reconcile.Owner{Service: service.Name{Namespace: "default", Name: fmt.Sprint("service-", i*7919%20_000)}})
	}
	for _, words := range []string{"", "service-77", "10.96.1."} {
		b.Run("q="+words, func(b *testing.B) {
			for b.Loop() {
				var c chosen
				if len(c.from(query{words: words, page: 1}, pools, owners)) != perPage {
					b.Fatal("it is no full page")
				}
			}
		})
	}
}
