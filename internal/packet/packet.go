package packet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// Packet is what rules see of one.
type Packet struct {
	Protocol dataplane.Protocol // ICMP and others have numbers, too
	From, To netip.Addr
	Port     uint16 // destination
	Input    string // interface; empty if it came by none, or that does not matter
	State    string // of its connection, by conntrack's name: "NEW"
	Mark     uint32
}

// Filter is the packet filter of one family.
type Filter struct {
	Rules   dataplane.Ruleset
	Types   map[string]dataplane.SetType // of all sets that are there, by name
	Entries map[string][]dataplane.Entry // by set
	Local   func(netip.Addr) bool        // reports whether an address is one of this host
}

// Hit is a rule whose conditions a packet meets.
type Hit struct {
	Table   dataplane.Table
	Chain   string
	Number  int // of the rule in its chain, from 0
	Rule    dataplane.Rule
	Entries []dataplane.Entry // of sets, by which it was found
}

// Pass sends a packet through what a built-in chain has of the proxy's rules, which may mark it. It returns the rules that
// were met, in order, and the action that ended the packet's way in the table, nil if none did. The error is about rules
// that a kernel would not take.
func (f Filter) Pass(table dataplane.Table, builtin string, p *Packet) (hits []Hit, end dataplane.Action, err error) {
	for _, jump := range slices.Backward(f.Rules.Jumps) { // prepended: the last comes first
		if jump.Table != table || jump.From != builtin {
			continue
		}
		more, end, err := f.chain(table, jump.To, p)
		if hits = append(hits, more...); end != nil || err != nil {
			return hits, end, err
		}
	}
	return hits, nil, nil
}

// chain sends a packet through one of the proxy's chains.
func (f Filter) chain(table dataplane.Table, name string, p *Packet) (hits []Hit, end dataplane.Action, err error) {
	at := slices.IndexFunc(f.Rules.Chains, func(c dataplane.Chain) bool { return c.Table == table && c.Name == name })
	if at < 0 {
		return nil, nil, fmt.Errorf("rules lead to chain %s of table %s, which is not there", name, table)
	}
	for i, rule := range f.Rules.Chains[at].Rules {
		entries, holds, err := f.holds(rule, *p)
		if err != nil {
			return hits, nil, fmt.Errorf("rule %d of chain %s of table %s: %w", i, name, table, err)
		}
		if !holds {
			continue
		}
		hits = append(hits, Hit{table, name, i, rule, entries})
		switch action := rule.Action.(type) {
		case dataplane.Return:
			return hits, nil, nil
		case dataplane.GoTo:
			more, end, err := f.chain(table, action.Chain, p)
			if hits = append(hits, more...); end != nil || err != nil {
				return hits, end, err
			}
		case dataplane.SetMark:
			p.Mark = p.Mark&^action.Mask ^ action.Value
		case dataplane.SetMarkFrom:
			if err := f.markFrom(action, p); err != nil {
				return hits, nil, fmt.Errorf("rule %d of chain %s of table %s: %w", i, name, table, err)
			}
		default:
			return hits, action, nil
		}
	}
	return hits, nil, nil
}

// markFrom gives a packet the mark of the entry as which it is looked up.
func (f Filter) markFrom(action dataplane.SetMarkFrom, p *Packet) error {
	entry, found, err := f.find(dataplane.MatchSet{Set: action.Set, Fields: action.Fields}, *p)
	if err == nil && !found {
		err = fmt.Errorf("a mark for %s is looked up in set %s, which has none", netip.AddrPortFrom(p.To, p.Port), action.Set)
	}
	p.Mark = entry.Mark
	return err
}

// holds reports whether a packet meets all conditions of a rule, and by which entries of sets.
func (f Filter) holds(rule dataplane.Rule, p Packet) (entries []dataplane.Entry, holds bool, err error) {
	for _, match := range rule.Matches {
		set, is := match.(dataplane.MatchSet)
		if !is {
			if holds, err := f.matches(match, p); !holds || err != nil {
				return nil, false, err
			}
			continue
		}
		entry, found, err := f.find(set, p)
		if found == set.Not || err != nil {
			return nil, false, err
		}
		if found {
			entries = append(entries, entry)
		}
	}
	return entries, true, nil
}

// matches reports whether a packet meets a condition that is not about a set.
func (f Filter) matches(match dataplane.Match, p Packet) (bool, error) {
	switch m := match.(type) {
	case dataplane.MatchProtocol:
		return m.Protocol == p.Protocol, nil
	case dataplane.MatchSource:
		return m.Prefix.Contains(p.From) != m.Not, nil
	case dataplane.MatchMark:
		return (p.Mark&m.Mask == m.Value) != m.Not, nil
	case dataplane.MatchState:
		return slices.Contains(strings.Split(m.States, ","), p.State) != m.Not, nil
	case dataplane.MatchLocalSource:
		return f.Local(p.From) != m.Not, nil
	case dataplane.MatchLocalDestination:
		return f.Local(p.To) != m.Not, nil
	case dataplane.MatchInput:
		prefix, wild := strings.CutSuffix(m.Interface, "+")
		return (p.Input == m.Interface || wild && p.Input != "" && strings.HasPrefix(p.Input, prefix)) != m.Not, nil
	}
	return false, fmt.Errorf("%T is no condition that is known here", match)
}

// find returns the entry of a set as which a packet is looked up.
func (f Filter) find(m dataplane.MatchSet, p Packet) (dataplane.Entry, bool, error) {
	kind, there := f.Types[m.Set]
	if !there {
		return dataplane.Entry{}, false, fmt.Errorf("there is no set %s", m.Set)
	}
	fields := strings.Split(m.Fields, ",")
	if want := strings.Count(kind.String(), ",") + 1; len(fields) != want {
		return dataplane.Entry{}, false, fmt.Errorf("set %s has %d dimensions, %q are looked up", m.Set, want, m.Fields)
	}
	entries, lookup := f.Entries[m.Set], lookup{kind: kind, protocol: p.Protocol, port: p.Port}
	addresses := map[string]netip.Addr{"src": p.From, "dst": p.To}
	lookup.addr, lookup.peer = addresses[fields[0]], addresses[fields[len(fields)-1]]
	at := slices.IndexFunc(entries, lookup.finds)
	if at < 0 {
		return dataplane.Entry{}, false, nil
	}
	return entries[at], true, nil
}

// lookup is what a set is asked for.
type lookup struct {
	kind       dataplane.SetType
	addr, peer netip.Addr // of the first and of the last dimension
	protocol   dataplane.Protocol
	port       uint16
}

// finds reports whether an entry is what is looked up.
func (l lookup) finds(e dataplane.Entry) bool {
	switch {
	case l.kind == dataplane.BitmapPort:
		return e.Port == l.port && (l.protocol == dataplane.TCP || l.protocol == dataplane.UDP || l.protocol == dataplane.SCTP)
	case e.Addr != l.addr:
		return false
	case l.kind == dataplane.HashIP:
		return true
	case e.Protocol != l.protocol || e.Port != l.port:
		return false
	}
	return l.kind == dataplane.HashIPPort || e.Peer.Contains(l.peer)
}
