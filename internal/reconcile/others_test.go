package reconcile_test

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"kube-ipvs-proxy/internal/dataplane"
)

// P18: an external address that another Node has is served, but never bound here; it is bound again when no Node has it.
func TestP18AddressOfAnotherNodeIsNotBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		other := netip.MustParseAddr("192.0.2.20")
		svc := web("web", "10.96.0.1", 0)
		svc.VIPs.External = []netip.Addr{other}
		f.source.SetOtherNodes([]netip.Addr{other})
		f.source.SetService(svc)
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		if f.bound(other.String()) || !f.bound("10.96.0.1") {
			t.Fatalf("another Node's address bound: %v, the ClusterIP bound: %v", f.bound(other.String()), f.bound("10.96.0.1"))
		}
		f.expectReals(dataplane.KeyOf(dataplane.TCP, other, 80), map[string]uint32{"10.1.0.1": 1})
		f.source.SetOtherNodes(nil)
		f.settle(0)
		if !f.bound(other.String()) {
			t.Fatal("the address is not bound, although no Node has it any more")
		}
	})
}
