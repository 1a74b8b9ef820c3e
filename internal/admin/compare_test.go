package admin

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/plan"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

const (
	web = "-t 10.96.0.1:80"
	dns = "-u 10.96.0.2:53"
)

// state is what is wanted in these tests: a TCP and a UDP virtual server with what belongs to them.
func state() reconcile.View {
	owner := reconcile.Owner{Source: "api", Service: service.Name{Namespace: "default", Name: "web"}}
	tcp, udp := poolAt(dataplane.TCP, "10.96.0.1:80", "10.1.0.1:8080", "10.1.0.2:8080"), poolAt(dataplane.UDP, "10.96.0.2:53", "10.1.0.3:53")
	tcp.MaskBits, udp.MaskBits = 32, 32
	return reconcile.View{
		Foundation: kernel.Foundation{Sets: []dataplane.Set{{Name: "KUBE-CLUSTER-IP", Type: dataplane.HashIPPort, Family: dataplane.IPv4,
			HashSize: 1024, MaxElem: 65536, Marks: true}}},
		Objects: dataplane.Objects{
			Pools:     []dataplane.Pool{tcp, udp},
			Addresses: []netip.Addr{tcp.Key.Addr, udp.Key.Addr},
			Entries:   []dataplane.Entry{entryAt(tcp, 0x1001), entryAt(udp, 0)},
		},
		Owners: reconcile.Owners{Pools: []reconcile.Owner{owner, {}}, Addresses: []reconcile.Owner{owner, {}}, Entries: []reconcile.Owner{owner, {}}},
	}
}

func entryAt(pool dataplane.Pool, mark uint32) dataplane.Entry {
	return dataplane.Entry{Set: "KUBE-CLUSTER-IP", Addr: pool.Key.Addr, Protocol: pool.Key.Protocol, Port: pool.Key.Port, Mark: mark}
}

// asWanted returns a kernel that has what is wanted, and the view of that.
func asWanted(t *testing.T) (*kerneltest.Fake, View) {
	t.Helper()
	wanted, fake := state(), kerneltest.NewFake()
	if _, err := fake.EnsureFoundation(t.Context(), wanted.Foundation); err != nil {
		t.Fatal(err)
	}
	for _, pool := range wanted.Objects.Pools {
		byHand(t, fake, dataplane.Add, pool.VirtualServer)
		for _, real := range pool.RealServers {
			byHand(t, fake, dataplane.Add, dataplane.Member{VirtualServer: pool.Key, RealServer: real})
		}
	}
	for i, addr := range wanted.Objects.Addresses {
		byHand(t, fake, dataplane.Add, dataplane.Address{Addr: addr})
		byHand(t, fake, dataplane.Add, wanted.Objects.Entries[i])
	}
	view, err := Of(wanted, settings(), compileOne)
	if err != nil {
		t.Fatal(err)
	}
	return fake, view
}

func byHand(t *testing.T, fake *kerneltest.Fake, verb dataplane.Verb, object dataplane.Object) {
	t.Helper()
	if err := fake.ByHand(dataplane.Operation{Verb: verb, Object: object}); err != nil {
		t.Fatal(err)
	}
}

// compared returns the differences between a kernel and the view, as text.
func compared(t *testing.T, fake *kerneltest.Fake, view View, faults ...dataplane.Fault) []string {
	t.Helper()
	desired, err := view.Desired()
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := fake.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, difference := range Compare(view, desired, Found{Faults: faults, Objects: snapshot.Objects}, plan.Options{}) {
		lines = append(lines, difference.String())
	}
	return lines
}

// Every kind of difference is told as the command that repairs it, and for whom.
func TestEachDifferenceIsTold(t *testing.T) {
	wanted := state().Objects
	tcp, udp := wanted.Pools[0], wanted.Pools[1]
	first := dataplane.Member{VirtualServer: tcp.Key, RealServer: tcp.RealServers[0]}
	heavier, stranger := first, first
	heavier.Weight, stranger.Addr = 5, netip.MustParseAddrPort("10.1.0.9:8080")
	foreignUDP := dataplane.Member{VirtualServer: udp.Key, RealServer: stranger.RealServer}
	other := tcp.VirtualServer
	other.Scheduler = "lc"
	stray := poolAt(dataplane.TCP, "10.96.0.9:1").VirtualServer
	stray.MaskBits = 32
	for name, c := range map[string]struct {
		verb   dataplane.Verb
		object dataplane.Object
		want   []string
	}{
		"virtual server gone": {dataplane.Delete, udp.VirtualServer, []string{
			"ipvsadm -A " + dns + " -s rr  # virtual server missing",
			"ipvsadm -a " + dns + " -r 10.1.0.3:53 -m -w 1  # real server missing"}},
		"scheduler changed":    {dataplane.Edit, other, []string{"ipvsadm -E " + web + " -s rr  # virtual server different (Service default/web)"}},
		"virtual server added": {dataplane.Add, stray, []string{"ipvsadm -D -t 10.96.0.9:1  # virtual server not wanted"}},
		"real server gone":     {dataplane.Delete, first, []string{"ipvsadm -a " + web + " -r 10.1.0.1:8080 -m -w 1  # real server missing (Service default/web)"}},
		"weight changed":       {dataplane.Edit, heavier, []string{"ipvsadm -e " + web + " -r 10.1.0.1:8080 -m -w 1  # real server different (Service default/web)"}},
		"real server added":    {dataplane.Add, stranger, []string{"ipvsadm -e " + web + " -r 10.1.0.9:8080 -m -w 0  # real server not wanted, to be drained (Service default/web)"}},
		"UDP one added":        {dataplane.Add, foreignUDP, []string{"ipvsadm -d " + dns + " -r 10.1.0.9:8080  # real server not wanted"}},
		"address gone":         {dataplane.Delete, dataplane.Address{Addr: tcp.Key.Addr}, []string{"ip addr add 10.96.0.1/32 dev kube-ipvs0  # address missing (Service default/web)"}},
		"address added":        {dataplane.Add, dataplane.Address{Addr: stray.Key.Addr}, []string{"ip addr del 10.96.0.9/32 dev kube-ipvs0  # address not wanted"}},
		"entry gone":           {dataplane.Delete, entryAt(udp, 0), []string{"ipset add KUBE-CLUSTER-IP 10.96.0.2,udp:53  # entry of set KUBE-CLUSTER-IP missing"}},
		"entry added":          {dataplane.Add, entryAt(dataplane.Pool{VirtualServer: stray}, 0), []string{"ipset del KUBE-CLUSTER-IP 10.96.0.9,tcp:1  # entry of set KUBE-CLUSTER-IP not wanted"}},
		"mark changed":         {dataplane.Add, entryAt(tcp, 7), []string{"ipset -exist add KUBE-CLUSTER-IP 10.96.0.1,tcp:80 skbmark 0x1001  # entry of set KUBE-CLUSTER-IP different (Service default/web)"}},
	} {
		t.Run(name, func(t *testing.T) {
			fake, view := asWanted(t)
			if lines := compared(t, fake, view); len(lines) > 0 {
				t.Fatalf("at first there are %q", lines)
			}
			byHand(t, fake, c.verb, c.object)
			if diff := cmp.Diff(c.want, compared(t, fake, view)); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
		})
	}
}

// A real server that drains is no difference, nor is what is somebody else's.
func TestNoDifferences(t *testing.T) {
	fake, view := asWanted(t)
	tcp := state().Objects.Pools[0]
	byHand(t, fake, dataplane.Add, dataplane.Member{VirtualServer: tcp.Key, RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort("10.1.0.9:8080")}})
	for _, foreign := range []dataplane.Pool{poolAt(dataplane.TCP, "192.0.2.1:80", "10.1.0.1:1"), poolAt(dataplane.TCP, "10.9.9.9:80", "10.1.0.1:80"),
		{VirtualServer: dataplane.VirtualServer{Key: dataplane.MarkKeyOf(dataplane.IPv4, 7), Scheduler: "rr"}}} {
		foreign.MaskBits = 32
		byHand(t, fake, dataplane.Add, foreign.VirtualServer)
		for _, real := range foreign.RealServers {
			if foreign.Key.Port == real.Addr.Port() {
				real.Forwarding = dataplane.DirectRoute
			}
			byHand(t, fake, dataplane.Add, dataplane.Member{VirtualServer: foreign.Key, RealServer: real})
		}
	}
	if lines := compared(t, fake, view); len(lines) > 0 {
		t.Errorf("there are %q", lines)
	}
}

// What is wrong with device, sets and rules comes first, and entries of a set that is something else cannot be added.
func TestFaultsComeFirst(t *testing.T) {
	_, view := asWanted(t)
	desired, err := view.Desired()
	if err != nil {
		t.Fatal(err)
	}
	faults := []dataplane.Fault{{What: "set KUBE-CLUSTER-IP is something else"}, {What: "chain missing", Repair: "iptables-restore <<'EOF'\nEOF"}}
	found := Found{Faults: faults, InTheWay: []string{"KUBE-CLUSTER-IP"}}
	var lines []string
	for _, difference := range Compare(view, desired, found, plan.Options{}) {
		lines = append(lines, difference.String())
	}
	if len(lines) != 2+3+2+2 || lines[0] != "# set KUBE-CLUSTER-IP is something else" || lines[1] != "# chain missing\niptables-restore <<'EOF'\nEOF" {
		t.Errorf("differences %q", lines)
	}
}

// Only what both looks found is left.
func TestLasting(t *testing.T) {
	a, b, c := Difference{What: "a"}, Difference{What: "b"}, Difference{What: "c"}
	if got := Lasting([]Difference{a, b}, []Difference{b, c}); !slices.Equal(got, []Difference{b}) {
		t.Errorf("%v last", got)
	}
}
