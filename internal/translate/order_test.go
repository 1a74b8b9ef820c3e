package translate

import (
	"net/netip"
	"testing"
)

// P15: two nodes that come up with the same Services do not begin each of them at the same endpoint, and neither does one
// node begin all of them at the same.
func TestP15TwoNodesManyServices(t *testing.T) {
	const services, endpoints = 64, 4
	same, firsts := 0, map[netip.AddrPort]int{}
	for i := range services {
		view := simple(endpoints)
		view.VIPs.Cluster = []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(i)})}
		a, b := order(t, view, "worker-1"), order(t, view, "worker-2")
		if a[0] == b[0] {
			same++
		}
		firsts[a[0]]++
	}
	// By chance alone they agree on a quarter, 16; on half is beyond it.
	if same >= services/2 {
		t.Errorf("both nodes begin %d of %d Services at the same endpoint", same, services)
	}
	for addr, n := range firsts {
		if n >= services/2 {
			t.Errorf("one node begins %d of %d Services at %s", n, services, addr)
		}
	}
}
