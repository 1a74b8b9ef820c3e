package plan_test

import (
	"net/netip"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/plan"
)

// exposed is a virtual server for clients outside, with the first endpoint, and one for the mark of those inside, with all.
func exposed(protocol dataplane.Protocol, endpoints ...byte) dataplane.Objects {
	inside := web(protocol, endpoints...)
	outside := web(protocol, endpoints[0])
	inside.Pools[0].For = []dataplane.VirtualServerKey{outside.Pools[0].Key}
	inside.Pools[0].Key = dataplane.MarkKeyOf(dataplane.IPv4, 0x1234)
	outside.Pools = append(outside.Pools, inside.Pools...)
	return outside
}

// P08, P26: when clients inside are no longer served apart, their connections go on; UDP flows are sent elsewhere, unless
// what they go to is still behind the address.
func TestP26NoLongerServedApart(t *testing.T) {
	b := newBench(t)
	b.want(exposed(dataplane.TCP, 1, 2))
	b.run()
	b.want(web(dataplane.TCP, 1, 2))
	b.expect("ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1\n"+
		"ipvsadm -e -f 4660 -r 10.1.0.1:8080 -m -w 0\nipvsadm -e -f 4660 -r 10.1.0.2:8080 -m -w 0\n", b.run())
	if !b.planner.HasMark(0x1234) || b.planner.HasMark(0x1235) {
		t.Error("the mark of a virtual server that drains passes for free, or another for taken")
	}
	b.want(dataplane.Objects{})
	b.changed.VirtualServers[dataplane.MarkKeyOf(dataplane.IPv4, 0x1234)] = struct{}{}
	b.expect("ip addr del 10.96.0.1/32 dev kube-ipvs0\nipvsadm -D -f 4660\nipvsadm -D -t 10.96.0.1:80\n"+
		"ipset del KUBE-CLUSTER-IP 10.96.0.1,tcp:80\n", b.run())
	if b.planner.HasMark(0x1234) {
		t.Error("the mark is still taken")
	}

	b = newBench(t)
	b.want(exposed(dataplane.UDP, 1, 2, 3))
	b.run()
	b.want(web(dataplane.UDP, 1, 2))
	b.expect("ipvsadm -a -u 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1\nipvsadm -D -f 4660\n"+
		"conntrack -D -p udp --orig-dst 10.96.0.1 --reply-src 10.1.0.3\n", b.run())
}

// P09: when an address is no longer among those that have a mark, the flows to it are stale; when a real server stays behind
// the address for clients with the mark, theirs are not.
func TestP09FlowsOfAnAddressAndItsMark(t *testing.T) {
	b := newBench(t)
	apart := exposed(dataplane.UDP, 1, 2)
	other := dataplane.KeyOf(dataplane.UDP, vip, 53)
	apart.Pools[1].For = append(apart.Pools[1].For, other)
	apart.Pools[0].RealServers = apart.Pools[1].RealServers
	b.want(apart)
	b.run()
	b.want(exposed(dataplane.UDP, 1, 2))
	b.expect("ipvsadm -d -u 10.96.0.1:80 -r 10.1.0.2:8080\n"+
		"conntrack -D -p udp --orig-dst 10.96.0.1 --reply-src 10.1.0.1\nconntrack -D -p udp --orig-dst 10.96.0.1 --reply-src 10.1.0.2\n", b.run())
}

// P08, B34: what an earlier process has left to drain behind a mark goes on draining after a restart, though nobody knows any
// more which addresses had the mark; with a deadline, and at once if no time is given, as when cleaning up.
func TestP08DrainingBehindAMarkSurvivesARestart(t *testing.T) {
	key := dataplane.MarkKeyOf(dataplane.IPv4, 0x1234)
	left := web(dataplane.TCP, 1, 2).Pools[0]
	left.Key, left.RealServers[0].Weight, left.RealServers[1].Weight = key, 0, 0
	restart := func(timeout time.Duration) *bench {
		b := newBench(t)
		b.planner = plan.New(plan.Options{DrainTimeout: timeout, Ours: func(dataplane.VirtualServerKey) bool { return true }})
		b.planner.Adopt(dataplane.Objects{Pools: []dataplane.Pool{left}})
		b.changed = b.planner.Keys()
		return b
	}
	b := restart(15 * time.Minute)
	b.expect("", b.run())
	ended := func(r *plan.Request) {
		r.Keys.VirtualServers[key] = struct{}{}
		r.Ended = func(_ dataplane.VirtualServerKey, addr netip.AddrPort) bool { return addr == endpoint(1) }
	}
	b.expect("ipvsadm -d -f 4660 -r 10.1.0.1:8080\n", b.run(ended))
	b.now = b.now.Add(15 * time.Minute)
	b.expect("ipvsadm -D -f 4660\n", b.run(ended))
	b = restart(0)
	b.expect("ipvsadm -D -f 4660\n", b.run())
}

// The mark of an entry is taken for as long as the entry may be in the kernel.
func TestMarksOfEntriesAreTaken(t *testing.T) {
	b := newBench(t)
	entry := dataplane.Entry{Set: "S", Addr: netip.MustParseAddr("10.96.0.1"), Protocol: dataplane.TCP, Port: 80, Mark: 7}
	other := entry
	other.Mark = 8
	for _, step := range []struct {
		entries      []dataplane.Entry
		seven, eight bool
	}{
		{[]dataplane.Entry{entry}, true, false}, {[]dataplane.Entry{other}, false, true}, {nil, false, false},
	} {
		b.want(dataplane.Objects{Entries: step.entries})
		b.run()
		if b.planner.HasMark(7) != step.seven || b.planner.HasMark(8) != step.eight {
			t.Errorf("with %v: 7 taken %v, 8 taken %v", step.entries, b.planner.HasMark(7), b.planner.HasMark(8))
		}
	}
	b.planner.Adopt(dataplane.Objects{Entries: []dataplane.Entry{entry}})
	if !b.planner.HasMark(7) {
		t.Error("the mark of an entry in a snapshot passes for free")
	}
}
