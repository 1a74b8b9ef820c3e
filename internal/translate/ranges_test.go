package translate

import (
	"net/netip"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// B40: with which source the node's own packets are held to loadBalancerSourceRanges. To an address on kube-ipvs0 they come
// from that address, and pass if the node's IP is in a range, as in kube-proxy. To one that is not bound here, and from
// sockets bound to an address, they come from an address of the node, and that one alone counts.
func TestB40WhoTheNodeIs(t *testing.T) {
	facts := service.Facts{
		Node: service.Node{Name: "n1", Addresses: parseAddrs([]string{"192.168.0.1", "192.168.7.1"})}, Families: dataplane.Families(),
		Local: parseAddrs([]string{"192.168.0.1", "192.168.7.1"}),
	}
	const itself, primary, other = "tcp 203.0.113.9 > 203.0.113.9:80", "tcp 192.168.0.1 > 203.0.113.9:80", "tcp 192.168.7.1 > 203.0.113.9:80"
	for _, c := range []struct {
		prefix string
		want   map[string]string
	}{
		{"192.168.0.0/24", map[string]string{itself: "", primary: "", other: "drop"}},
		{"192.168.7.0/24", map[string]string{itself: "drop", primary: "drop", other: ""}},
		{"192.168.0.0/16", map[string]string{itself: "", primary: "", other: ""}},
		{"203.0.113.0/24", map[string]string{itself: "", primary: "drop", other: "drop"}},
	} {
		policy := service.Policy{SourceRanges: []netip.Prefix{netip.MustParsePrefix(c.prefix)}}
		objects, problems := Service(townService(9, 80, 0, policy, nil), facts, service.Options{Scheduler: "rr"}, portMark)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for text, want := range c.want {
			p := packetOf(t, text)
			host := hostOf(t, Rules(dataplane.IPv4, service.Options{}), objects.Entries)
			if got := host.pass(dataplane.Mangle, "OUTPUT", &p); got != want {
				t.Errorf("%s in ranges, %s: %q, want %q", c.prefix, text, got, want)
			}
		}
	}
}
