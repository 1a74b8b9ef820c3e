package dataplane_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	dp "kube-ipvs-proxy/internal/dataplane"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// The notations are those that ipvsadm -Sn, ip and ipset save print; the drivers' tests compare them with the real
// programs. Here every form is written out once.
func TestObjectsPrintThemselvesAsTheToolsDo(t *testing.T) {
	v4, v6 := dp.KeyOf(dp.TCP, addr("10.96.0.1"), 443), dp.KeyOf(dp.UDP, addr("fd00::1"), 53)
	real := dp.RealServer{Addr: netip.MustParseAddrPort("10.1.0.2:8080"), Weight: 1}
	for _, c := range []struct {
		object fmt.Stringer
		want   string
	}{
		{dp.VirtualServer{Key: v4, Scheduler: "rr", MaskBits: 32}, "-A -t 10.96.0.1:443 -s rr"},
		{dp.VirtualServer{Key: v6, Scheduler: "sh", MaskBits: 128, Flags: dp.FlagFallback}, "-A -u [fd00::1]:53 -s sh -b sh-fallback"},
		{dp.VirtualServer{Key: dp.KeyOf(dp.SCTP, addr("10.0.0.1"), 9), Scheduler: "mh", MaskBits: 32, Flags: dp.FlagFallback | dp.FlagHashPort},
			"-A --sctp-service 10.0.0.1:9 -s mh -b mh-fallback,mh-port"},
		{dp.VirtualServer{Key: v4, Scheduler: "wlc", MaskBits: 24, Flags: dp.FlagPersistent | dp.FlagOnePacket | dp.FlagSched3, Timeout: 60},
			"-A -t 10.96.0.1:443 -s wlc -p 60 -M 255.255.255.0 -o -b flag-3"},
		{dp.VirtualServer{Key: v6, Scheduler: "rr", MaskBits: 64, Flags: dp.FlagPersistent, Timeout: 5}, "-A -u [fd00::1]:53 -s rr -p 5 -M 64"},
		{dp.VirtualServer{Key: dp.MarkKeyOf(dp.IPv4, 7), Scheduler: "rr", MaskBits: 32}, "-A -f 7 -s rr"},
		{dp.VirtualServer{Key: dp.MarkKeyOf(dp.IPv6, 7), Scheduler: "rr", MaskBits: 128}, "-A -f 7 -6 -s rr"},
		{dp.Member{VirtualServer: v4, RealServer: real}, "-a -t 10.96.0.1:443 -r 10.1.0.2:8080 -m -w 1"},
		{dp.Address{Addr: addr("10.96.0.1")}, "10.96.0.1/32 dev kube-ipvs0"},
		{dp.Address{Addr: addr("fd00::1")}, "fd00::1/128 dev kube-ipvs0"},
		{dp.Entry{Set: "S", Addr: addr("10.0.0.1")}, "add S 10.0.0.1"},
		{dp.Entry{Set: "S", Port: 80}, "add S 80"},
		{dp.Entry{Set: "S", Addr: addr("fd00::1"), Protocol: dp.SCTP, Port: 9}, "add S fd00::1,sctp:9"},
		{dp.Entry{Set: "S", Addr: addr("10.0.0.1"), Protocol: dp.TCP, Port: 80, Peer: netip.MustParsePrefix("10.0.0.1/32")}, "add S 10.0.0.1,tcp:80,10.0.0.1"},
		{dp.Entry{Set: "S", Addr: addr("10.0.0.1"), Protocol: dp.TCP, Port: 80, Peer: netip.MustParsePrefix("128.0.0.0/1"), Mark: 5},
			"add S 10.0.0.1,tcp:80,128.0.0.0/1 skbmark 0x5"},
		{dp.Set{Name: "S", Type: dp.HashIPPort, Family: dp.IPv6, HashSize: dp.DefaultHashSize, MaxElem: dp.DefaultMaxElem, Marks: true},
			"create S hash:ip,port family inet6 hashsize 1024 maxelem 65536 skbinfo"},
		{dp.Set{Name: "S", Type: dp.BitmapPort, Family: dp.IPv4}, "create S bitmap:port range 0-65535"},
	} {
		if diff := cmp.Diff(c.want, c.object.String()); diff != "" {
			t.Errorf("%T (-want +got):\n%s", c.object, diff)
		}
	}
}

func TestOperationsPrintTheCommand(t *testing.T) {
	key := dp.KeyOf(dp.TCP, addr("10.96.0.1"), 443)
	server := dp.VirtualServer{Key: key, Scheduler: "rr", MaskBits: 32}
	member := dp.Member{VirtualServer: key, RealServer: dp.RealServer{Addr: netip.MustParseAddrPort("10.1.0.2:8080")}}
	entry := dp.Entry{Set: "S", Port: 80}
	for _, c := range []struct {
		op   dp.Operation
		want string
	}{
		{dp.Operation{Verb: dp.Add, Object: server}, "ipvsadm -A -t 10.96.0.1:443 -s rr"},
		{dp.Operation{Verb: dp.Edit, Object: server}, "ipvsadm -E -t 10.96.0.1:443 -s rr"},
		{dp.Operation{Verb: dp.Delete, Object: server}, "ipvsadm -D -t 10.96.0.1:443"},
		{dp.Operation{Verb: dp.Add, Object: member}, "ipvsadm -a -t 10.96.0.1:443 -r 10.1.0.2:8080 -m -w 0"},
		{dp.Operation{Verb: dp.Edit, Object: member}, "ipvsadm -e -t 10.96.0.1:443 -r 10.1.0.2:8080 -m -w 0"},
		{dp.Operation{Verb: dp.Delete, Object: member}, "ipvsadm -d -t 10.96.0.1:443 -r 10.1.0.2:8080"},
		{dp.Operation{Verb: dp.Add, Object: dp.Address{Addr: addr("::1")}}, "ip addr add ::1/128 dev kube-ipvs0"},
		{dp.Operation{Verb: dp.Delete, Object: dp.Address{Addr: addr("::1")}}, "ip addr del ::1/128 dev kube-ipvs0"},
		{dp.Operation{Verb: dp.Add, Object: entry}, "ipset add S 80"},
		{dp.Operation{Verb: dp.Delete, Object: entry}, "ipset del S 80"},
	} {
		if got := c.op.String(); got != c.want {
			t.Errorf("%s of %T prints %q, want %q", c.op.Verb, c.op.Object, got, c.want)
		}
	}
}

// The dump is the same for equal states, whatever the order they were collected in, and keeps apart what differs.
func TestDumpIsSorted(t *testing.T) {
	pool := func(ip string, reals ...string) dp.Pool {
		p := dp.Pool{VirtualServer: dp.VirtualServer{Key: dp.KeyOf(dp.TCP, addr(ip), 80), Scheduler: "rr", MaskBits: 32}}
		for _, r := range reals {
			p.RealServers = append(p.RealServers, dp.RealServer{Addr: netip.MustParseAddrPort(r), Weight: 1})
		}
		return p
	}
	one := dp.Objects{Pools: []dp.Pool{pool("10.0.0.2"), pool("10.0.0.1", "10.1.0.2:80", "10.1.0.1:80")},
		Addresses: []netip.Addr{addr("fd00::1"), addr("10.0.0.1")}, Entries: []dp.Entry{{Set: "B", Port: 1}, {Set: "A", Port: 2}}}
	other := dp.Objects{Pools: []dp.Pool{pool("10.0.0.1", "10.1.0.1:80", "10.1.0.2:80"), pool("10.0.0.2")},
		Addresses: []netip.Addr{addr("10.0.0.1"), addr("fd00::1")}, Entries: []dp.Entry{{Set: "A", Port: 2}, {Set: "B", Port: 1}}}
	want := `-A -t 10.0.0.1:80 -s rr
-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1
-a -t 10.0.0.1:80 -r 10.1.0.2:80 -m -w 1
-A -t 10.0.0.2:80 -s rr
10.0.0.1/32 dev kube-ipvs0
fd00::1/128 dev kube-ipvs0
add A 2
add B 1
`
	for _, objects := range []dp.Objects{one, other} {
		if diff := cmp.Diff(want, objects.Dump()); diff != "" {
			t.Errorf("dump (-want +got):\n%s", diff)
		}
	}
	if one.Pools[1].Equal(other.Pools[0]) {
		t.Error("pools with another order of insertion count as equal; the order is part of what is wanted")
	}
}
