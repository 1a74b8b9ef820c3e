package admin

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/plan"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// large is what 5,000 Services with ten endpoints each want.
func large() reconcile.View {
	view := reconcile.View{Foundation: kernel.Foundation{Sets: []dataplane.Set{{Name: "KUBE-CLUSTER-IP", Type: dataplane.HashIPPort, Family: dataplane.IPv4}}}}
	for i := range 5000 {
		pool := poolAt(dataplane.TCP, fmt.Sprintf("10.96.%d.%d:80", i>>8, i&255))
		for e := range 10 {
			addr := netip.AddrFrom4([4]byte{10, byte(128 + i>>12), byte(i >> 4), byte(i<<4 + e)})
			pool.RealServers = append(pool.RealServers, dataplane.RealServer{Addr: netip.AddrPortFrom(addr, 8080), Weight: 1})
		}
		owner := reconcile.Owner{Source: "api", Service: service.Name{Namespace: "default", Name: fmt.Sprint("svc-", i)}}
		view.Objects.Pools, view.Owners.Pools = append(view.Objects.Pools, pool), append(view.Owners.Pools, owner)
		view.Objects.Addresses, view.Owners.Addresses = append(view.Objects.Addresses, pool.Key.Addr), append(view.Owners.Addresses, owner)
		view.Objects.Entries, view.Owners.Entries = append(view.Objects.Entries, entryAt(pool, 0)), append(view.Owners.Entries, owner)
	}
	return view
}

// The parts of verify that grow with the number of Services, reading the kernel apart.
func BenchmarkVerify5000(b *testing.B) {
	wanted := large()
	view, err := Of(wanted, settings(), compileOne)
	if err != nil {
		b.Fatal(err)
	}
	text, err := json.Marshal(view)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			view, err := Of(wanted, settings(), compileOne)
			if err == nil {
				_, err = json.Marshal(view)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			var view View
			if err := json.Unmarshal(text, &view); err != nil {
				b.Fatal(err)
			}
			if _, err := view.Desired(); err != nil {
				b.Fatal(err)
			}
		}
	})
	desired, err := view.Desired()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("compare", func(b *testing.B) {
		for b.Loop() {
			if differences := Compare(view, desired, Found{Objects: wanted.Objects}, plan.Options{}); len(differences) > 0 {
				b.Fatal(differences)
			}
		}
	})
}
