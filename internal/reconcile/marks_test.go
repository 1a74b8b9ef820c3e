package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/service"
)

// nobody has any mark in the kernel.
func nobody(uint32) bool { return false }

// ask leases marks for TCP ports of an owner.
func ask(m *marks, owner string, numbers ...uint16) (got []uint32) {
	var ports []service.Port
	for _, number := range numbers {
		ports = append(ports, service.Port{Protocol: dataplane.TCP, Port: number})
	}
	return askPorts(m, ledger.Owner{Name: owner}, ports)
}

// askPorts leases marks for the ports of an owner, each of them once for either family; nil if these get different ones.
func askPorts(m *marks, owner ledger.Owner, ports []service.Port) (got []uint32) {
	markOf, done := m.lease(owner, ports)
	defer done()
	for _, port := range ports {
		target := func(addr string) []dataplane.VirtualServerKey {
			return []dataplane.VirtualServerKey{dataplane.KeyOf(port.Protocol, netip.MustParseAddr(addr), port.Port)}
		}
		got = append(got, markOf(port, target("203.0.113.1")))
		if markOf(port, target("2001:db8::1")) != got[len(got)-1] {
			return nil
		}
	}
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
	m.inherit([]dataplane.Entry{
		{Set: "S", Addr: netip.MustParseAddr("203.0.113.1"), Protocol: dataplane.TCP, Port: 80, Mark: 3},
		{Set: "S", Addr: netip.MustParseAddr("203.0.113.1"), Protocol: dataplane.TCP, Port: 81, Mark: 4 | service.DefaultMark},
		{Set: "S", Addr: netip.MustParseAddr("203.0.113.1"), Protocol: dataplane.TCP, Port: 82, Mark: 9}, // not allowed any more
	})
	m.avoid([]dataplane.VirtualServerKey{dataplane.MarkKeyOf(dataplane.IPv6, 1|service.DefaultMark)})
	if got := ask(m, "a", 81, 80, 82, 83); got[0] != 4 || got[1] != 3 || got[2] != 2 || got[3] != 0 {
		t.Errorf("got %v, want 4 and 3 as before, 2, and none of the mark that others use", got)
	}
}

// A mark that something in the kernel has would lead its packets to whoever got it next.
func TestMarksInTheKernelAreNotHandedOut(t *testing.T) {
	inKernel := map[uint32]bool{1: true, 2 | service.DefaultMark: true, 4: true}
	m := newMarks(service.Options{Marks: service.MarkRange{First: 1, Last: 4}}, func(mark uint32) bool { return inKernel[mark] })
	m.inherit([]dataplane.Entry{{Set: "S", Addr: netip.MustParseAddr("203.0.113.1"), Protocol: dataplane.TCP, Port: 80, Mark: 4}})
	if got := ask(m, "new", 8080, 8081); got[0] != 3 || got[1] != 0 {
		t.Errorf("a new Service gets %v, want the one mark that nothing has", got)
	}
	if got := ask(m, "old", 80); got[0] != 4 {
		t.Errorf("the Service that had the mark before a restart gets %v", got)
	}
}

// Who found no mark gets the next, the oldest first, and nobody is asked in vain.
func TestMarksFeedTheStarved(t *testing.T) {
	inKernel := map[uint32]bool{}
	m := newMarks(service.Options{Marks: service.MarkRange{First: 1, Last: 2}}, func(mark uint32) bool { return inKernel[mark] })
	born := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	port := []service.Port{{Protocol: dataplane.TCP, Port: 80}}
	ask(m, "first", 80, 81)
	for age, owner := range []string{"young", "old", "oldest"} {
		if got := askPorts(m, ledger.Owner{Name: owner, Created: born.Add(-time.Duration(age) * time.Hour)}, port); got[0] != 0 {
			t.Fatalf("%s gets %d, which is taken", owner, got)
		}
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if got := m.fed(); !slices.Equal(got, want) {
			t.Errorf("%s, %v are fed, want %v", when, got, want)
		}
	}
	expect("with no mark free")
	given := ask(m, "first", 80)[0]
	inKernel[3-given] = true
	expect("while the kernel holds the mark that was given up")
	clear(inKernel)
	expect("with one mark free", "oldest")
	ask(m, "first")
	expect("with two marks free", "oldest", "old")
	ask(m, "oldest") // does not need one any more
	expect("with one less", "old", "young")
	ask(m, "old", 80)
	ask(m, "young", 80)
	expect("with nobody starved")
}

// Somebody else's firewall mark is not handed out for as long as it is there; who holds it is told to look for another.
func TestMarksOfOthersComeAndGo(t *testing.T) {
	m := newMarks(service.Options{Marks: service.MarkRange{First: 1, Last: 2}}, nobody)
	held := ask(m, "a", 80)[0]
	free := 3 - held
	foreign := func(marks ...uint32) []string {
		var keys []dataplane.VirtualServerKey
		for _, mark := range marks {
			keys = append(keys, dataplane.MarkKeyOf(dataplane.IPv6, mark|service.DefaultMark))
		}
		return m.avoid(keys)
	}
	if got := foreign(free, 77); len(got) > 0 {
		t.Errorf("%v are disturbed by a mark that nobody holds", got)
	}
	if got := ask(m, "b", 80); got[0] != 0 || len(m.fed()) > 0 {
		t.Errorf("somebody else's mark %d is handed out: %v, %v", free, got, m.fed())
	}
	if got := foreign(held); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%v are disturbed, want a", got)
	}
	if got := ask(m, "a", 80); got[0] != free {
		t.Errorf("beside somebody else's mark %d, a gets %v", held, got)
	}
	foreign()
	if got := m.fed(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("when the others are gone, %v are fed, want b", got)
	}
}

// A port that changes in some respect is the same port by what stays of it.
func TestMarksFollowThePort(t *testing.T) {
	port := func(name string, number, nodePort uint16) service.Port {
		return service.Port{Name: name, Protocol: dataplane.TCP, Port: number, NodePort: nodePort}
	}
	udp := port("", 80, 0)
	udp.Protocol = dataplane.UDP
	before := []service.Port{port("http", 80, 30080), port("api", 81, 30081), port("", 82, 0)}
	for _, c := range []struct {
		name  string
		after []service.Port
		want  []int // which of the ports it was, -1 for none of them
	}{
		{"in another order", []service.Port{before[2], before[1], before[0]}, []int{2, 1, 0}},
		{"another number", []service.Port{port("http", 8080, 30080)}, []int{0}},
		{"another number, its own being taken", []service.Port{port("new", 80, 0), port("http", 8080, 30080)}, []int{-1, 0}},
		{"another number and name", []service.Port{port("new", 80, 0), port("www", 8080, 30080)}, []int{-1, 0}},
		{"another NodePort", []service.Port{port("http", 80, 30090)}, []int{0}},
		{"another name", []service.Port{port("www", 80, 30090)}, []int{0}},
		{"exchanged", []service.Port{port("http", 81, 30081), port("api", 80, 30080)}, []int{0, 1}},
		{"another protocol", []service.Port{udp}, []int{-1}},
		{"one name twice", []service.Port{port("http", 90, 0), port("http", 91, 0)}, []int{0, -1}},
	} {
		m := newMarks(service.Options{}, nobody)
		had, got := askPorts(m, ledger.Owner{Name: "a"}, before), askPorts(m, ledger.Owner{Name: "a"}, c.after)
		for i, mark := range got {
			if was := slices.Index(had, mark); was != c.want[i] {
				t.Errorf("%s: port %d was the one with index %d, want %d", c.name, c.after[i].Port, was, c.want[i])
			}
		}
		if len(m.taken) != len(c.after) {
			t.Errorf("%s: %d marks are taken for %d ports", c.name, len(m.taken), len(c.after))
		}
	}
}
