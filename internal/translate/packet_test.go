package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// icmp is the protocol number of ICMP; the sets hold no entries for it.
const icmp dataplane.Protocol = 1

// packet is what the rules can see of one.
type packet struct {
	protocol dataplane.Protocol
	from, to netip.Addr
	port     uint16 // destination
	input    string
	state    string
	mark     uint32
}

// packetOf reads "tcp 10.0.0.1 > 10.0.0.2:80 [ESTABLISHED|INVALID|RELATED] [in=eth0] [marked]"; the state is NEW unless given.
func packetOf(t *testing.T, text string) packet {
	t.Helper()
	words := strings.Fields(text)
	p := packet{state: "NEW", from: netip.MustParseAddr(words[1])}
	p.protocol = map[string]dataplane.Protocol{
		"tcp": dataplane.TCP, "udp": dataplane.UDP, "sctp": dataplane.SCTP, "icmp": icmp,
	}[words[0]]
	if to, err := netip.ParseAddrPort(words[3]); err == nil {
		p.to, p.port = to.Addr(), to.Port()
	} else {
		p.to = netip.MustParseAddr(words[3])
	}
	for _, word := range words[4:] {
		switch name, found := strings.CutPrefix(word, "in="); {
		case found:
			p.input = name
		case word == "marked":
			p.mark = 1 << 14
		default:
			p.state = word
		}
	}
	return p
}

// host interprets a ruleset over set entries, as the packet filter would.
type host struct {
	t       *testing.T
	rules   dataplane.Ruleset
	sets    map[string]dataplane.Set
	entries []dataplane.Entry
}

func hostOf(t *testing.T, rules dataplane.Ruleset, entries []dataplane.Entry) host {
	h := host{t: t, rules: rules, entries: entries, sets: map[string]dataplane.Set{}}
	for _, set := range Sets(dataplane.Families()) {
		h.sets[set.Name] = set
	}
	return h
}

// pass sends a packet through a built-in chain. The verdict is empty when nothing of ours decides.
func (h host) pass(table dataplane.Table, builtin string, p *packet) (verdict string) {
	for _, jump := range slices.Backward(h.rules.Jumps) { // prepended: the last comes first
		if jump.Table == table && jump.From == builtin {
			if verdict := h.chain(table, jump.To, p); verdict != "" {
				return verdict
			}
		}
	}
	return ""
}

func (h host) chain(table dataplane.Table, name string, p *packet) string {
	h.t.Helper()
	i := slices.IndexFunc(h.rules.Chains, func(c dataplane.Chain) bool { return c.Table == table && c.Name == name })
	if i < 0 {
		h.t.Fatalf("no chain %s in table %s", name, table)
	}
	for _, rule := range h.rules.Chains[i].Rules {
		if slices.ContainsFunc(rule.Matches, func(m dataplane.Match) bool { return !h.matches(m, *p) }) {
			continue
		}
		switch action := rule.Action.(type) {
		case dataplane.Return:
			return ""
		case dataplane.GoTo:
			if verdict := h.chain(table, action.Chain, p); verdict != "" {
				return verdict
			}
		case dataplane.SetMarkFrom:
			p.mark = h.markIn(action, *p)
		case dataplane.SetMark:
			p.mark = p.mark&^action.Mask ^ action.Value
		default:
			return verdictOf(action)
		}
	}
	return ""
}

func verdictOf(action dataplane.Action) string {
	switch action := action.(type) {
	case dataplane.Accept:
		return "accept"
	case dataplane.Drop:
		return "drop"
	case dataplane.SNATToNode:
		return "masquerade"
	case dataplane.Reject:
		return [...]string{"port-unreachable", "reset", "protocol-unreachable"}[action.With]
	}
	return fmt.Sprintf("%T", action)
}

func (h host) matches(match dataplane.Match, p packet) bool {
	switch m := match.(type) {
	case dataplane.MatchProtocol:
		return m.Protocol == p.protocol
	case dataplane.MatchSource:
		return m.Prefix.Contains(p.from) != m.Not
	case dataplane.MatchMark:
		return (p.mark&m.Mask == m.Value) != m.Not
	case dataplane.MatchState:
		return slices.Contains(strings.Split(m.States, ","), p.state) != m.Not
	case dataplane.MatchLocalSource:
		ours := slices.ContainsFunc(h.entries, func(e dataplane.Entry) bool {
			return e.Addr == p.from && (strings.HasSuffix(e.Set, "IPVS-IPS") || strings.HasSuffix(e.Set, "NODE-PORT-IPS"))
		})
		return ours != m.Not
	case dataplane.MatchInput:
		prefix, wild := strings.CutSuffix(m.Interface, "+")
		return (p.input == m.Interface || wild && strings.HasPrefix(p.input, prefix)) != m.Not
	case dataplane.MatchSet:
		return h.inSet(m, p) != m.Not
	}
	h.t.Fatalf("the rules use %T, which this test does not know", match)
	return false
}

// markIn returns the mark of the entry that the packet is looked up as.
func (h host) markIn(from dataplane.SetMarkFrom, p packet) uint32 {
	for _, entry := range h.entries {
		one := host{t: h.t, sets: h.sets, entries: []dataplane.Entry{entry}}
		if one.inSet(dataplane.MatchSet{Set: from.Set, Fields: from.Fields}, p) {
			return entry.Mark
		}
	}
	h.t.Fatalf("a mark for %s:%d is looked up in %s, which has none", p.to, p.port, from.Set)
	return 0
}

func (h host) inSet(m dataplane.MatchSet, p packet) bool {
	set, ok := h.sets[m.Set]
	if !ok {
		h.t.Fatalf("there is no set %s", m.Set)
	}
	fields := strings.Split(m.Fields, ",")
	if want := strings.Count(set.Type.String(), ",") + 1; len(fields) != want {
		h.t.Fatalf("set %s has %d dimensions, %q are looked up", m.Set, want, m.Fields)
	}
	addr := map[string]netip.Addr{"src": p.from, "dst": p.to}
	return slices.ContainsFunc(h.entries, func(e dataplane.Entry) bool {
		switch {
		case e.Set != m.Set:
			return false
		case set.Type == dataplane.BitmapPort:
			return p.protocol != icmp && e.Port == p.port
		case set.Type == dataplane.HashIP:
			return e.Addr == addr[fields[0]]
		case e.Addr != addr[fields[0]] || e.Protocol != p.protocol || e.Port != p.port:
			return false
		}
		return len(fields) < 3 || e.Peer.Contains(addr[fields[2]])
	})
}
