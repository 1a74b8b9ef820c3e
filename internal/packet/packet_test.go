package packet

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
)

// filterOf has chains of the filter table, to which INPUT leads in the order in which they were prepended.
func filterOf(prepended []string, chains map[string][]dataplane.Rule) Filter {
	f := Filter{
		Types: map[string]dataplane.SetType{"HOSTS": dataplane.HashIP, "PORTS": dataplane.BitmapPort, "SERVICES": dataplane.HashIPPort,
			"PAIRS": dataplane.HashIPPortIP, "RANGES": dataplane.HashIPPortNet},
		Entries: map[string][]dataplane.Entry{},
		Local:   func(addr netip.Addr) bool { return addr == netip.MustParseAddr("10.0.0.1") },
	}
	for name, rules := range chains {
		f.Rules.Chains = append(f.Rules.Chains, dataplane.Chain{Table: dataplane.Filter, Name: name, Rules: rules})
	}
	for _, to := range prepended {
		f.Rules.Jumps = append(f.Rules.Jumps, dataplane.Jump{Table: dataplane.Filter, From: "INPUT", To: to})
	}
	return f
}

func newPacket() *Packet {
	return &Packet{Protocol: dataplane.TCP, From: netip.MustParseAddr("10.1.0.9"), To: netip.MustParseAddr("10.0.0.1"), Port: 80,
		Input: "eth0", State: "NEW", Mark: 0x4000}
}

func rule(action dataplane.Action, matches ...dataplane.Match) dataplane.Rule {
	return dataplane.Rule{Matches: matches, Action: action}
}

// Of two chains that are prepended to a built-in one, the later comes first, and its verdict holds.
func TestJumpsArePrepended(t *testing.T) {
	f := filterOf([]string{"FIRST", "SECOND"}, map[string][]dataplane.Rule{"FIRST": {rule(dataplane.Drop{})}, "SECOND": {rule(dataplane.Accept{})}})
	hits, end, err := f.Pass(dataplane.Filter, "INPUT", newPacket())
	if end != (dataplane.Accept{}) || err != nil || len(hits) != 1 || hits[0].Chain != "SECOND" {
		t.Errorf("met %v and ended by %T, %v, want only the rule of SECOND, which accepts", hits, end, err)
	}
	if hits, end, err := f.Pass(dataplane.Filter, "OUTPUT", newPacket()); len(hits) > 0 || end != nil || err != nil {
		t.Errorf("in OUTPUT, from which nothing leads on: %v, %T, %v", hits, end, err)
	}
}

// The way goes on behind a chain that decides nothing or returns, and ends with the first action that ends it.
func TestWayThroughChains(t *testing.T) {
	f := filterOf([]string{"MAIN"}, map[string][]dataplane.Rule{
		"MAIN":    {rule(dataplane.GoTo{Chain: "MARK"}), rule(dataplane.GoTo{Chain: "BACK"}), rule(dataplane.Reject{With: dataplane.TCPReset}), rule(dataplane.Accept{})},
		"MARK":    {rule(dataplane.SetMark{Value: 0x1, Mask: 0x4000})},
		"BACK":    {rule(dataplane.Return{}), rule(dataplane.Drop{})},
		"NOWHERE": {rule(dataplane.Drop{})},
	})
	p := newPacket()
	hits, end, err := f.Pass(dataplane.Filter, "INPUT", p)
	var way []string
	for _, hit := range hits {
		way = append(way, hit.Chain+string(rune('0'+hit.Number)))
	}
	if diff := cmp.Diff([]string{"MAIN0", "MARK0", "MAIN1", "BACK0", "MAIN2"}, way); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if end != (dataplane.Reject{With: dataplane.TCPReset}) || err != nil || p.Mark != 1 {
		t.Errorf("ended by %#v, %v, marked %#x, want a reset and 0x1", end, err, p.Mark)
	}
}

// Each condition holds for a packet that is as it says, and with Not for all others.
func TestConditions(t *testing.T) {
	entry := func(set, addr string, port uint16, peer string) dataplane.Entry {
		e := dataplane.Entry{Set: set, Protocol: dataplane.TCP, Port: port}
		if addr != "" {
			e.Addr = netip.MustParseAddr(addr)
		}
		if peer != "" {
			e.Peer = netip.MustParsePrefix(peer)
		}
		return e
	}
	for _, c := range []struct {
		match dataplane.Match
		entry dataplane.Entry
		holds bool
	}{
		{match: dataplane.MatchProtocol{Protocol: dataplane.TCP}, holds: true},
		{match: dataplane.MatchProtocol{Protocol: dataplane.UDP}},
		{match: dataplane.MatchSource{Prefix: netip.MustParsePrefix("10.1.0.0/16")}, holds: true},
		{match: dataplane.MatchSource{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Not: true}},
		{match: dataplane.MatchMark{Value: 0x4000, Mask: 0x4000}, holds: true},
		{match: dataplane.MatchMark{Value: 0, Mask: 0x4000}},
		{match: dataplane.MatchState{States: "RELATED,NEW"}, holds: true},
		{match: dataplane.MatchState{States: "ESTABLISHED"}},
		{match: dataplane.MatchLocalSource{}},
		{match: dataplane.MatchLocalSource{Not: true}, holds: true},
		{match: dataplane.MatchLocalDestination{}, holds: true},
		{match: dataplane.MatchInput{Interface: "eth+"}, holds: true},
		{match: dataplane.MatchInput{Interface: "eth"}},
		{match: dataplane.MatchInput{Interface: "eth0", Not: true}},
		{match: dataplane.MatchSet{Set: "HOSTS", Fields: "dst"}, entry: entry("HOSTS", "10.0.0.1", 0, ""), holds: true},
		{match: dataplane.MatchSet{Set: "HOSTS", Fields: "src"}, entry: entry("HOSTS", "10.0.0.1", 0, "")},
		{match: dataplane.MatchSet{Set: "HOSTS", Fields: "src", Not: true}, entry: entry("HOSTS", "10.0.0.1", 0, ""), holds: true},
		{match: dataplane.MatchSet{Set: "PORTS", Fields: "dst"}, entry: entry("PORTS", "", 80, ""), holds: true},
		{match: dataplane.MatchSet{Set: "SERVICES", Fields: "dst,dst"}, entry: entry("SERVICES", "10.0.0.1", 80, ""), holds: true},
		{match: dataplane.MatchSet{Set: "SERVICES", Fields: "dst,dst"}, entry: entry("SERVICES", "10.0.0.1", 81, "")},
		{match: dataplane.MatchSet{Set: "PAIRS", Fields: "dst,dst,src"}, entry: entry("PAIRS", "10.0.0.1", 80, "10.1.0.9/32"), holds: true},
		{match: dataplane.MatchSet{Set: "RANGES", Fields: "dst,dst,src"}, entry: entry("RANGES", "10.0.0.1", 80, "10.2.0.0/16")},
		{match: dataplane.MatchSet{Set: "RANGES", Fields: "dst,dst,src"}, entry: entry("RANGES", "10.0.0.1", 80, "10.1.0.0/16"), holds: true},
	} {
		f := filterOf([]string{"MAIN"}, map[string][]dataplane.Rule{"MAIN": {rule(dataplane.Accept{}, c.match)}})
		f.Entries[c.entry.Set] = []dataplane.Entry{c.entry}
		if _, end, err := f.Pass(dataplane.Filter, "INPUT", newPacket()); (end != nil) != c.holds || err != nil {
			t.Errorf("%#v with entry %s: holds %v, %v, want %v", c.match, c.entry, end != nil, err, c.holds)
		}
	}
}

// A set of ports holds none of ICMP, which has types there.
func TestPortsOfICMP(t *testing.T) {
	f := filterOf([]string{"MAIN"}, map[string][]dataplane.Rule{"MAIN": {rule(dataplane.Drop{}, dataplane.MatchSet{Set: "PORTS", Fields: "dst"})}})
	f.Entries["PORTS"] = []dataplane.Entry{{Set: "PORTS", Port: 80}}
	p := newPacket()
	p.Protocol = 1
	if _, end, err := f.Pass(dataplane.Filter, "INPUT", p); end != nil || err != nil {
		t.Errorf("ended by %T, %v", end, err)
	}
}

// What a kernel would not take is an error that names it.
func TestRulesThatNoKernelTakes(t *testing.T) {
	for want, f := range map[string]Filter{
		"chain GONE of table filter": filterOf([]string{"GONE"}, nil),
		"chain LOST of table filter": filterOf([]string{"MAIN"}, map[string][]dataplane.Rule{"MAIN": {rule(dataplane.GoTo{Chain: "LOST"})}}),
		"there is no set NONE": filterOf([]string{"MAIN"}, map[string][]dataplane.Rule{"MAIN": {
			rule(dataplane.Drop{}, dataplane.MatchSet{Set: "NONE", Fields: "dst"})}}),
		`set SERVICES has 2 dimensions, "dst" are looked up`: filterOf([]string{"MAIN"}, map[string][]dataplane.Rule{"MAIN": {
			rule(dataplane.Drop{}, dataplane.MatchSet{Set: "SERVICES", Fields: "dst"})}}),
		"a mark for 10.0.0.1:80 is looked up in set SERVICES": filterOf([]string{"MAIN"}, map[string][]dataplane.Rule{"MAIN": {
			rule(dataplane.SetMarkFrom{Set: "SERVICES", Fields: "dst,dst"})}}),
	} {
		if _, end, err := f.Pass(dataplane.Filter, "INPUT", newPacket()); err == nil || !strings.Contains(err.Error(), want) || end != nil {
			t.Errorf("ended by %T, %v, want an error with %q", end, err, want)
		}
	}
}
