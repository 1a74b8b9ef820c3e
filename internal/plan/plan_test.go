package plan_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/plan"
)

// bench drives a planner with a ledger of one owner; executed operations are confirmed at once.
type bench struct {
	t       *testing.T
	ledger  *ledger.Ledger
	planner *plan.Planner
	changed dataplane.Keys
	now     time.Time
	fail    map[string]error // by the text of the operation
}

func newBench(t *testing.T) *bench {
	options := plan.Options{DrainTimeout: 15 * time.Minute, Ours: func(key dataplane.VirtualServerKey) bool {
		return key.Mark == 0 && key.Addr != netip.MustParseAddr("10.244.0.1")
	}}
	return &bench{t: t, ledger: ledger.New(nil), planner: plan.New(options), changed: dataplane.NewKeys(),
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (b *bench) want(objects dataplane.Objects) {
	b.ledger.Replace(ledger.Owner{Name: "default/web"}, objects, b.changed)
}

// run plans what changed, carries it out and returns the operations as text.
func (b *bench) run(adjust ...func(*plan.Request)) string {
	request := plan.Request{Keys: b.changed, Desired: b.ledger, Now: b.now}
	for _, f := range adjust {
		f(&request)
	}
	b.changed = dataplane.NewKeys()
	var text strings.Builder
	for _, op := range b.planner.Plan(request) {
		err := b.fail[op.String()]
		b.planner.Confirm(op, err)
		if err != nil {
			b.changed.AddOf(op.Object)
		}
		fmt.Fprintln(&text, op)
	}
	return text.String()
}

func (b *bench) expect(want, got string) {
	b.t.Helper()
	want = strings.ReplaceAll(strings.TrimLeft(want, "\n"), "\t", "")
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Fatalf("operations (-want +got):\n%s", diff)
	}
}

var vip = netip.MustParseAddr("10.96.0.1")

func endpoint(last byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, last}), 8080)
}

// web is a Service at 10.96.0.1:80 with the given endpoints 10.1.0.N:8080.
func web(protocol dataplane.Protocol, endpoints ...byte) dataplane.Objects {
	pool := dataplane.Pool{VirtualServer: dataplane.VirtualServer{Key: dataplane.KeyOf(protocol, vip, 80), Scheduler: "rr", MaskBits: 32}}
	for _, e := range endpoints {
		pool.RealServers = append(pool.RealServers, dataplane.RealServer{Addr: endpoint(e), Weight: 1})
	}
	return dataplane.Objects{
		Pools:     []dataplane.Pool{pool},
		Addresses: []netip.Addr{vip},
		Entries:   []dataplane.Entry{{Set: "KUBE-CLUSTER-IP", Addr: vip, Protocol: protocol, Port: 80}},
	}
}

// P02: on the way up the address comes last, when everything it needs is there; on the way down it goes first.
func TestP02OrderKeepsTrafficFlowing(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1, 2))
	b.expect(`
		ipset add KUBE-CLUSTER-IP 10.96.0.1,tcp:80
		ipvsadm -A -t 10.96.0.1:80 -s rr
		ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 1
		ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1
		ip addr add 10.96.0.1/32 dev kube-ipvs0
	`, b.run())
	b.want(dataplane.Objects{})
	b.expect(`
		ip addr del 10.96.0.1/32 dev kube-ipvs0
		ipvsadm -D -t 10.96.0.1:80
		ipset del KUBE-CLUSTER-IP 10.96.0.1,tcp:80
	`, b.run())
	b.expect("", b.run())
}

func TestUnwantedServerDrainsAndGoesWhenItsConnectionsEnd(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1, 2))
	b.run()
	b.want(web(dataplane.TCP, 1))
	b.expect("ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 0\n", b.run())
	key := dataplane.KeyOf(dataplane.TCP, vip, 80)
	if diff := cmp.Diff([]string{key.String()}, texts(b.planner.Draining(b.ledger))); diff != "" {
		t.Fatalf("draining (-want +got):\n%s", diff)
	}
	b.changed.VirtualServers[key] = struct{}{}
	b.expect("", b.run(ended(false)))
	b.changed.VirtualServers[key] = struct{}{}
	b.expect("ipvsadm -d -t 10.96.0.1:80 -r 10.1.0.2:8080\n", b.run(ended(true)))
	if left := b.planner.Draining(b.ledger); len(left) != 0 {
		t.Fatalf("still draining: %v", left)
	}
}

func ended(all bool) func(*plan.Request) {
	return func(r *plan.Request) {
		r.Ended = func(dataplane.VirtualServerKey, netip.AddrPort) bool { return all }
	}
}

func texts[T fmt.Stringer](items []T) []string {
	var all []string
	for _, item := range items {
		all = append(all, item.String())
	}
	return all
}

// P08: a server that no slice lists drains until the deadline at most; one that a slice lists drains without limit.
func TestP08DrainDeadlineCountsOnlyWhileUnlisted(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1, 2))
	b.run()
	listed := web(dataplane.TCP, 1)
	listed.Pools[0].Listed = []netip.AddrPort{endpoint(2)}
	b.want(listed)
	b.run()
	again := func(*plan.Request) {}
	key := dataplane.KeyOf(dataplane.TCP, vip, 80)
	for _, step := range []struct {
		objects dataplane.Objects
		after   time.Duration
		want    string
	}{
		{listed, 24 * time.Hour, ""},
		{web(dataplane.TCP, 1), time.Hour, ""},
		{web(dataplane.TCP, 1), 14 * time.Minute, ""},
		{web(dataplane.TCP, 1), 2 * time.Minute, "ipvsadm -d -t 10.96.0.1:80 -r 10.1.0.2:8080\n"},
	} {
		b.now = b.now.Add(step.after)
		b.want(step.objects)
		b.changed.VirtualServers[key] = struct{}{}
		b.expect(step.want, b.run(again))
	}
}

// P08: after a restart, a server with weight 0 that nothing wants is still draining.
func TestP08DrainingIsReadBackFromTheKernel(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1))
	found := web(dataplane.TCP, 1, 2)
	found.Pools[0].RealServers[1].Weight = 0
	b.changed.Merge(b.planner.Adopt(found))
	b.expect("", b.run())
	if len(b.planner.Draining(b.ledger)) != 1 {
		t.Fatal("the adopted server with weight 0 is not known to drain")
	}
	b.want(web(dataplane.TCP, 1, 2))
	b.expect("ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1\n", b.run())
}

// P11: a server that is wanted again gets its weight back by an edit, so that its connections live on.
func TestP11WantedAgainIsAnEdit(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1, 2))
	b.run()
	b.want(web(dataplane.TCP, 1))
	b.run()
	b.want(web(dataplane.TCP, 1, 2))
	b.expect("ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1\n", b.run())
}

// P12: an endpoint that vanishes after it was terminating or not serving is gone: deleted at once, also when the first
// attempt fails.
func TestP12VanishedAfterLeavingIsDeletedAtOnce(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1, 2))
	b.run()
	leaving := web(dataplane.TCP, 1)
	leaving.Pools[0].Listed = []netip.AddrPort{endpoint(2)}
	leaving.Pools[0].Leaving = []netip.AddrPort{endpoint(2)}
	b.want(leaving)
	b.expect("ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 0\n", b.run())
	b.want(web(dataplane.TCP, 1))
	const gone = "ipvsadm -d -t 10.96.0.1:80 -r 10.1.0.2:8080"
	b.fail = map[string]error{gone: errors.New("interrupted")}
	b.expect(gone+"\n", b.run())
	b.fail = nil
	b.expect(gone+"\n", b.run())
	b.expect("", b.run())
}

// P12: the same for an endpoint that was wanted while it terminated, because nothing else was ready.
func TestP12WantedWhileTerminating(t *testing.T) {
	b := newBench(t)
	only := web(dataplane.TCP, 1)
	only.Pools[0].Leaving = []netip.AddrPort{endpoint(1)}
	b.want(only)
	b.run()
	b.want(web(dataplane.TCP, 2))
	b.expect(`
		ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1
		ipvsadm -d -t 10.96.0.1:80 -r 10.1.0.1:8080
	`, b.run())
}

// P09: a UDP server goes at once, and so do the conntrack entries that lead to it.
func TestP09UDPServerGoesAtOnceWithItsFlows(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.UDP, 1, 2))
	b.run()
	b.want(web(dataplane.UDP, 1))
	b.expect(`
		ipvsadm -d -u 10.96.0.1:80 -r 10.1.0.2:8080
		conntrack -D -p udp --orig-dst 10.96.0.1 --reply-src 10.1.0.2
	`, b.run())
	b.want(dataplane.Objects{})
	b.expect(`
		ip addr del 10.96.0.1/32 dev kube-ipvs0
		ipvsadm -D -u 10.96.0.1:80
		conntrack -D -p udp --orig-dst 10.96.0.1 --reply-src 10.1.0.1
		ipset del KUBE-CLUSTER-IP 10.96.0.1,udp:80
	`, b.run())
}

// P09: a flow that began while nobody served is not held back by that once somebody does. What was served stays.
func TestP09FlowsOlderThanTheirServerAreForgotten(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.UDP))
	b.run()
	b.want(web(dataplane.UDP, 1))
	b.expect(`
		ipvsadm -A -u 10.96.0.1:80 -s rr
		ipvsadm -a -u 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 1
		conntrack -D -p udp --orig-dst 10.96.0.1 --reply-src 10.96.0.1
	`, b.run())
	b.want(web(dataplane.UDP, 1, 2))
	b.expect("ipvsadm -a -u 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1\n", b.run())
}

// P27: a virtual server without real servers is not kept, except while one drains.
func TestP27EmptyVirtualServerIsNotKept(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP))
	b.expect("ipset add KUBE-CLUSTER-IP 10.96.0.1,tcp:80\nip addr add 10.96.0.1/32 dev kube-ipvs0\n", b.run())
	b.want(web(dataplane.TCP, 1))
	b.run()
	b.want(web(dataplane.TCP))
	b.expect("ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 0\n", b.run())
	b.changed.VirtualServers[dataplane.KeyOf(dataplane.TCP, vip, 80)] = struct{}{}
	b.expect("ipvsadm -D -t 10.96.0.1:80\n", b.run(ended(true)))
}

// P13: a change of affinity on a live Service is an edit of the virtual server and leaves its real servers alone.
func TestP13AffinityChangeIsAnEdit(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1))
	b.run()
	sticky := web(dataplane.TCP, 1)
	sticky.Pools[0].Flags, sticky.Pools[0].Timeout = dataplane.FlagPersistent, 10800
	b.want(sticky)
	b.expect("ipvsadm -E -t 10.96.0.1:80 -s rr -p 10800\n", b.run())
}

func TestAddOnlyTakesNothingAway(t *testing.T) {
	b := newBench(t)
	b.changed.Merge(b.planner.Adopt(web(dataplane.TCP, 1, 2)))
	other := web(dataplane.TCP, 3)
	b.want(other)
	addOnly := func(r *plan.Request) { r.AddOnly = true }
	b.expect("ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.3:8080 -m -w 1\n", b.run(addOnly))
	b.want(web(dataplane.TCP))
	b.expect("", b.run(addOnly))
	b.want(dataplane.Objects{})
	b.expect("", b.run(addOnly))
}

// P23: what others set up is neither changed nor deleted, and is no drift.
func TestP23ForeignVirtualServersStay(t *testing.T) {
	b := newBench(t)
	direct := web(dataplane.TCP, 1).Pools[0]
	direct.RealServers[0].Forwarding = dataplane.DirectRoute
	excluded := web(dataplane.TCP, 1).Pools[0]
	excluded.Key.Addr = netip.MustParseAddr("10.244.0.1")
	marked := web(dataplane.TCP, 1).Pools[0]
	marked.Key = dataplane.MarkKeyOf(dataplane.IPv4, 99)
	changed := b.planner.Adopt(dataplane.Objects{Pools: []dataplane.Pool{direct, excluded, marked}})
	if changed.Len() != 0 {
		t.Errorf("foreign virtual servers count as drift: %v", changed)
	}
	b.changed.Merge(b.planner.Keys())
	b.expect("", b.run())
}

// P23: a real server that somebody put behind our virtual server with direct routing is theirs.
func TestP23ForeignRealServerBehindOurs(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1))
	b.run()
	found := web(dataplane.TCP, 1, 9)
	found.Pools[0].RealServers[1].Forwarding = dataplane.DirectRoute
	b.changed.Merge(b.planner.Adopt(found))
	b.expect("", b.run())
}

// P03: what a snapshot finds changed is repaired, and only that.
func TestP03DriftIsRepaired(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1, 2))
	b.run()
	found := web(dataplane.TCP, 2, 3)
	found.Pools[0].Scheduler = "lc"
	found.Pools[0].RealServers[0].Weight = 7
	found.Entries = nil
	b.changed.Merge(b.planner.Adopt(found))
	b.expect(`
		ipset add KUBE-CLUSTER-IP 10.96.0.1,tcp:80
		ipvsadm -E -t 10.96.0.1:80 -s rr
		ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 1
		ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1
		ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.3:8080 -m -w 0
	`, b.run())
}

func TestMissingObjectsAreLearntFromErrors(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1))
	b.run()
	// Somebody deleted the virtual server; an edit of its member and the addition that follows find out.
	sticky := web(dataplane.TCP, 1, 2)
	b.want(sticky)
	b.fail = map[string]error{"ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1": dataplane.ErrNotExist}
	b.run()
	b.fail = nil
	b.expect(`
		ipvsadm -A -t 10.96.0.1:80 -s rr
		ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 1
		ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1
	`, b.run())
}

func TestFailedOperationsArePlannedAgain(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1))
	const address = "ip addr add 10.96.0.1/32 dev kube-ipvs0"
	b.fail = map[string]error{address: errors.New("no buffer space")}
	b.run()
	b.fail = nil
	b.expect(address+"\n", b.run())
}

func TestDeviceGoneBringsAllAddressesBack(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1))
	b.run()
	b.planner.ObserveDeviceGone()
	b.changed.Merge(b.ledger.All())
	b.expect("ip addr add 10.96.0.1/32 dev kube-ipvs0\n", b.run())
}
