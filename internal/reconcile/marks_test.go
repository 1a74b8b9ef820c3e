package reconcile

import (
	"fmt"
	"net/netip"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// nobody has any mark in the kernel.
func nobody(uint32) bool { return false }

// ask leases marks for TCP ports of an owner.
func ask(m *marks, owner string, ports ...uint16) (got []uint32) {
	markOf, done := m.lease(owner)
	for _, port := range ports {
		target := dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("203.0.113.1"), port)
		got = append(got, markOf(service.Port{Protocol: dataplane.TCP, Port: port}, []dataplane.VirtualServerKey{target}))
	}
	done()
	return got
}

func TestMarksAreKeptAndGivenOnce(t *testing.T) {
	m := newMarks(service.Options{Marks: service.MarkRange{First: 1, Last: 0x3fff}}, nobody)
	seen := map[uint32]string{}
	for i := range 3000 {
		owner := fmt.Sprint("svc", i)
		for j, mark := range ask(m, owner, 80, 443) {
			if mark == 0 || mark > 0x3fff || seen[mark] != "" {
				t.Fatalf("%s gets mark %d for port %d, which %q has", owner, mark, j, seen[mark])
			}
			seen[mark] = owner
		}
	}
	first := ask(m, "svc0", 80, 443)
	if again := ask(m, "svc0", 443, 80); again[0] != first[1] || again[1] != first[0] {
		t.Errorf("asked again, the marks are %v, then %v", first, again)
	}
	ask(m, "svc0", 443) // gives up the other
	if got := ask(m, "svc0", 443); got[0] != first[1] {
		t.Errorf("the port that stayed had %d, now %d", first[1], got[0])
	}
	ask(m, "svc0")
	if len(m.held) != 2999 || len(m.taken) != 2*2999 {
		t.Errorf("with one gone, %d owners hold %d marks", len(m.held), len(m.taken))
	}
}

func TestMarksRunOut(t *testing.T) {
	m := newMarks(service.Options{Marks: service.MarkRange{First: 0x3ffe, Last: 0x4001}}, nobody)
	if got := ask(m, "a", 1, 2, 3); got[0] == 0 || got[1] == 0 || got[0] == got[1] || got[2] != 0 {
		t.Errorf("of two marks without the masquerade bit, three ports get %v", got)
	}
	ask(m, "a", 1)
	if got := ask(m, "b", 1, 2); got[0] == 0 || got[1] != 0 {
		t.Errorf("when one is given back, two ports get %v", got)
	}
}

func TestMarksOfTheKernelAreTakenOver(t *testing.T) {
	m := newMarks(service.Options{Marks: service.MarkRange{First: 1, Last: 4}}, nobody)
	ours, others := dataplane.MarkKeyOf(dataplane.IPv4, 3), dataplane.MarkKeyOf(dataplane.IPv6, 1|service.DefaultMark)
	m.learn(dataplane.Objects{
		Entries: []dataplane.Entry{
			{Set: "S", Addr: netip.MustParseAddr("203.0.113.1"), Protocol: dataplane.TCP, Port: 80, Mark: 3},
			{Set: "S", Addr: netip.MustParseAddr("203.0.113.1"), Protocol: dataplane.TCP, Port: 81, Mark: 4 | service.DefaultMark},
			{Set: "S", Addr: netip.MustParseAddr("203.0.113.1"), Protocol: dataplane.TCP, Port: 82, Mark: 9}, // not allowed any more
		},
		Pools: []dataplane.Pool{{VirtualServer: dataplane.VirtualServer{Key: ours}}, {VirtualServer: dataplane.VirtualServer{Key: others}}},
	}, dataplane.Keys{VirtualServers: map[dataplane.VirtualServerKey]struct{}{ours: {}}})
	if got := ask(m, "a", 81, 80, 82, 83); got[0] != 4 || got[1] != 3 || got[2] != 2 || got[3] != 0 {
		t.Errorf("got %v, want 4 and 3 as before, 2, and none of the mark that others use", got)
	}
}

// A mark that something in the kernel has would lead its packets to whoever got it next.
func TestMarksInTheKernelAreNotHandedOut(t *testing.T) {
	inKernel := map[uint32]bool{1: true, 2 | service.DefaultMark: true, 4: true}
	m := newMarks(service.Options{Marks: service.MarkRange{First: 1, Last: 4}}, func(mark uint32) bool { return inKernel[mark] })
	m.learn(dataplane.Objects{Entries: []dataplane.Entry{
		{Set: "S", Addr: netip.MustParseAddr("203.0.113.1"), Protocol: dataplane.TCP, Port: 80, Mark: 4},
	}}, dataplane.NewKeys())
	if got := ask(m, "new", 8080, 8081); got[0] != 3 || got[1] != 0 {
		t.Errorf("a new Service gets %v, want the one mark that nothing has", got)
	}
	if got := ask(m, "old", 80); got[0] != 4 {
		t.Errorf("the Service that had the mark before a restart gets %v", got)
	}
}
