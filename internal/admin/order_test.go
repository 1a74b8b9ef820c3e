package admin

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
)

func reals(addresses ...string) []dataplane.RealServer {
	list := make([]dataplane.RealServer, len(addresses))
	for i, address := range addresses {
		list[i] = dataplane.RealServer{Addr: netip.MustParseAddrPort(address), Weight: 1}
	}
	return list
}

func poolAt(protocol dataplane.Protocol, address string, servers ...string) dataplane.Pool {
	at := netip.MustParseAddrPort(address)
	return dataplane.Pool{VirtualServer: dataplane.VirtualServer{Key: dataplane.KeyOf(protocol, at.Addr(), at.Port()), Scheduler: "rr"},
		RealServers: reals(servers...)}
}

func addressesOf(servers []dataplane.RealServer) string {
	var list []string
	for _, one := range servers {
		list = append(list, one.Addr.String())
	}
	return strings.Join(list, " ")
}

// What ipvsadm 1.31 printed for real servers that had been added in the reverse of this order, some of them in a circle: 10
// before 100, 100 before 172 and 200, and these before 10.
func TestRealServersInIpvsadmsOrder(t *testing.T) {
	found := reals("10.0.0.1:1", "10.0.0.1:256", "10.0.0.1:40000", "172.16.0.1:3", "100.0.0.1:1", "10.0.0.1:80", "10.0.0.1:8080", "200.0.0.1:80", "10.0.0.9:80")
	const want = "172.16.0.1:3 200.0.0.1:80 10.0.0.1:1 10.0.0.1:80 10.0.0.1:256 10.0.0.1:8080 10.0.0.1:40000 10.0.0.9:80 100.0.0.1:1"
	wanted := poolAt(dataplane.TCP, "10.96.0.1:80", "10.0.0.9:80", "200.0.0.1:80", "10.0.0.1:8080", "10.0.0.1:80", "100.0.0.1:1", "172.16.0.1:3",
		"10.0.0.1:40000", "10.0.0.1:256", "10.0.0.1:1")
	there := wanted
	there.RealServers = found
	got := asIpvsadm([]dataplane.Pool{wanted}, []dataplane.Pool{there})
	if diff := cmp.Diff(want, addressesOf(got[0].RealServers)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	six := poolAt(dataplane.TCP, "[fd00::1]:80", "[fd00::1:9]:80", "[fd00:1::9]:80", "[fd00::9]:80", "[fd00::9]:70")
	const wantSix = "[fd00::9]:70 [fd00::9]:80 [fd00::1:9]:80 [fd00:1::9]:80"
	if got := addressesOf(asIpvsadm([]dataplane.Pool{six}, nil)[0].RealServers); got != wantSix {
		t.Errorf("order %s, want %s", got, wantSix)
	}
	if diff := cmp.Diff("10.0.0.9:80", wanted.RealServers[0].Addr.String()); diff != "" {
		t.Errorf("what is wanted was changed: %s", diff)
	}
}

// Marks come last, IPv4 before IPv6, protocols by number; what the kernel has not comes as well, and what nobody wants does not.
func TestVirtualServersInIpvsadmsOrder(t *testing.T) {
	marked := dataplane.Pool{VirtualServer: dataplane.VirtualServer{Key: dataplane.MarkKeyOf(dataplane.IPv4, 9)}, RealServers: reals("10.0.0.1:1")}
	pools := []dataplane.Pool{marked, poolAt(dataplane.UDP, "10.0.0.1:53", "10.1.0.1:1"), poolAt(dataplane.TCP, "[fd00::1]:80", "[fd00::2]:1"),
		poolAt(dataplane.TCP, "10.0.0.2:80", "10.1.0.1:1"), poolAt(dataplane.TCP, "10.0.0.3:80"), poolAt(dataplane.TCP, "10.0.0.1:8080", "10.1.0.1:1"),
		poolAt(dataplane.SCTP, "10.0.0.1:53", "10.1.0.1:1"), poolAt(dataplane.TCP, "10.0.0.1:80", "10.1.0.1:1")}
	found := []dataplane.Pool{pools[7], poolAt(dataplane.TCP, "10.0.0.9:1"), pools[0]}
	var got []string
	for _, pool := range asIpvsadm(pools, found) {
		got = append(got, pool.Key.String())
	}
	want := []string{"-t 10.0.0.1:80", "-t 10.0.0.1:8080", "-t 10.0.0.2:80", "-u 10.0.0.1:53", "--sctp-service 10.0.0.1:53", "-t [fd00::1]:80", "-f 9"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}
