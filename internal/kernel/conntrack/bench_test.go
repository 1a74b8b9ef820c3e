package conntrack

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// trackMany creates entries of n clients of one virtual server.
func trackMany(t testing.TB, n int, virtual, real netip.AddrPort) {
	t.Helper()
	handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	for i := range n {
		client, port := net.IP{10, 2, byte(i >> 8), byte(i)}, virtual.Port()+4000+uint16(virtual.Addr().As4()[3])
		err := handle.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, &netlink.ConntrackFlow{
			FamilyType: unix.AF_INET,
			TimeOut:    300,
			Forward: netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: client, SrcPort: port,
				DstIP: virtual.Addr().AsSlice(), DstPort: virtual.Port()},
			Reverse: netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: real.Addr().AsSlice(), SrcPort: real.Port(),
				DstIP: client, DstPort: port},
		})
		if err != nil {
			t.Fatalf("create entry %d: %v", i, err)
		}
	}
}

// BenchmarkDelete deletes the 10,000 entries of one flow from among 20,000.
func BenchmarkDelete(b *testing.B) {
	d := open(b)
	const n = 10_000
	virtual, stays := netip.MustParseAddrPort("10.96.0.10:53"), netip.MustParseAddrPort("10.96.0.11:53")
	real := netip.MustParseAddrPort("10.1.0.1:5353")
	flows := []dataplane.Flows{flowsOf(dataplane.UDP, virtual.String(), real.String())}
	trackMany(b, n, stays, real)
	for range b.N {
		b.StopTimer()
		trackMany(b, n, virtual, real)
		b.StartTimer()
		if err := d.Delete(b.Context(), flows)[0]; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "entries/s")
}
