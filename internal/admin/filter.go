package admin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// Hit is a rule whose conditions a packet meets.
type Hit struct {
	Table   string `json:"table"`
	Chain   string `json:"chain"`
	Rule    string `json:"rule"`              // as iptables-save prints it
	Comment string `json:"comment,omitempty"` // the rule's
	Does    string `json:"does"`              // a phrase
	// Entries are those of sets that the packet was found by, as ipset save prints them.
	Entries []string `json:"entries,omitempty"`
	action  dataplane.Action
}

// packet is the first packet of a connection, with what rules see of it.
type packet struct {
	protocol dataplane.Protocol
	from, to netip.Addr
	port     uint16 // destination
	input    string // interface; empty if it does not matter
	mark     uint32
}

// filter passes packets through the rules of one family, as the packet filter does.
type filter struct {
	rules   dataplane.Ruleset
	lines   map[chainID][]string // rules as text
	types   map[string]dataplane.SetType
	entries map[string][]dataplane.Entry // by set
	local   func(netip.Addr) bool        // is one of this host
}

// chainID identifies a chain: two tables may have one of the same name.
type chainID struct{ table, name string }

// pass sends a packet through what a built-in chain has of the proxy's rules. It returns the rules that were met, in order,
// and the action that ended the packet's way, nil if none did.
func (f filter) pass(table dataplane.Table, builtin string, p *packet) (hits []Hit, end dataplane.Action) {
	for _, jump := range slices.Backward(f.rules.Jumps) { // prepended: the last comes first
		if jump.Table != table || jump.From != builtin {
			continue
		}
		more, end := f.chain(table, jump.To, p)
		if hits = append(hits, more...); end != nil {
			return hits, end
		}
	}
	return hits, nil
}

func (f filter) chain(table dataplane.Table, name string, p *packet) (hits []Hit, end dataplane.Action) {
	at := slices.IndexFunc(f.rules.Chains, func(c dataplane.Chain) bool { return c.Table == table && c.Name == name })
	if at < 0 {
		return nil, nil // rules never name one that is not there
	}
	lines := f.lines[chainID{string(table), name}]
	for i, rule := range f.rules.Chains[at].Rules {
		entries, holds := f.holds(rule, *p)
		if !holds {
			continue
		}
		hit := Hit{Table: string(table), Chain: name, Comment: rule.Comment, Does: phraseOf(rule.Action), Entries: entries,
			action: rule.Action}
		if i < len(lines) {
			hit.Rule = lines[i]
		}
		hits = append(hits, hit)
		switch action := rule.Action.(type) {
		case dataplane.Return:
			return hits, nil
		case dataplane.GoTo:
			more, end := f.chain(table, action.Chain, p)
			if hits = append(hits, more...); end != nil {
				return hits, end
			}
		case dataplane.SetMark:
			p.mark = p.mark&^action.Mask ^ action.Value
		case dataplane.SetMarkFrom:
			entry, _ := f.find(dataplane.MatchSet{Set: action.Set, Fields: action.Fields}, *p)
			p.mark = entry.Mark
		default:
			return hits, action
		}
	}
	return hits, nil
}

// phraseOf says what an action does to a packet.
func phraseOf(action dataplane.Action) string {
	switch a := action.(type) {
	case dataplane.Accept:
		return "accepts it"
	case dataplane.Drop:
		return "drops it"
	case dataplane.Return:
		return "lets it go on"
	case dataplane.GoTo:
		return "sends it to " + a.Chain
	case dataplane.SetMark:
		if a.Mask == 0 {
			return fmt.Sprintf("toggles mark %#x", a.Value)
		}
		return fmt.Sprintf("sets mark %#x", a.Value)
	case dataplane.SetMarkFrom:
		return "sets the entry's mark"
	case dataplane.SNATToNode:
		return "masquerades it"
	case dataplane.Reject:
		return "refuses it with " + map[dataplane.RejectWith]string{dataplane.PortUnreachable: "ICMP port unreachable",
			dataplane.TCPReset: "a TCP reset", dataplane.ProtocolUnreachable: "ICMP protocol unreachable"}[a.With]
	}
	return fmt.Sprintf("%T", action)
}

// holds reports whether a packet meets all conditions of a rule, and by which entries of sets.
func (f filter) holds(rule dataplane.Rule, p packet) (entries []string, holds bool) {
	for _, match := range rule.Matches {
		set, is := match.(dataplane.MatchSet)
		if !is {
			if !f.matches(match, p) {
				return nil, false
			}
			continue
		}
		entry, found := f.find(set, p)
		if found == set.Not {
			return nil, false
		}
		if found {
			entries = append(entries, strings.TrimPrefix(entry.String(), "add "))
		}
	}
	return entries, true
}

// matches reports whether a packet meets a condition that is not about a set.
func (f filter) matches(match dataplane.Match, p packet) bool {
	switch m := match.(type) {
	case dataplane.MatchProtocol:
		return m.Protocol == p.protocol
	case dataplane.MatchSource:
		return m.Prefix.Contains(p.from) != m.Not
	case dataplane.MatchMark:
		return (p.mark&m.Mask == m.Value) != m.Not
	case dataplane.MatchState:
		return slices.Contains(strings.Split(m.States, ","), "NEW") != m.Not
	case dataplane.MatchLocalSource:
		return f.local(p.from) != m.Not
	case dataplane.MatchLocalDestination:
		return f.local(p.to) != m.Not
	case dataplane.MatchInput:
		prefix, wild := strings.CutSuffix(m.Interface, "+")
		return (p.input == m.Interface || wild && p.input != "" && strings.HasPrefix(p.input, prefix)) != m.Not
	}
	return false // there are no others
}

// find returns the entry of a set as which a packet is looked up.
func (f filter) find(m dataplane.MatchSet, p packet) (dataplane.Entry, bool) {
	addresses, fields := map[string]netip.Addr{"src": p.from, "dst": p.to}, strings.Split(m.Fields, ",")
	kind := f.types[m.Set]
	for _, e := range f.entries[m.Set] {
		found := false
		switch kind {
		case dataplane.BitmapPort:
			found = e.Port == p.port
		case dataplane.HashIP:
			found = e.Addr == addresses[fields[0]]
		default:
			found = e.Addr == addresses[fields[0]] && e.Protocol == p.protocol && e.Port == p.port &&
				(len(fields) < 3 || e.Peer.Contains(addresses[fields[2]]))
		}
		if found {
			return e, true
		}
	}
	return dataplane.Entry{}, false
}
