package netfilter

import (
	"fmt"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// ctStates lists conntrack states in the order in which iptables prints them.
const ctStates = "INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED,SNAT,DNAT"

// ruleWords collects the parts of a rule by the place where iptables-save prints them.
type ruleWords struct {
	family   dataplane.Family
	source   string
	input    string
	protocol string
	matches  []string
	tcp      bool
}

func (w *ruleWords) match(m dataplane.Match) error {
	switch m := m.(type) {
	case dataplane.MatchProtocol:
		return w.matchProtocol(m)
	case dataplane.MatchSource:
		return w.matchSource(m)
	case dataplane.MatchInput:
		if err := word("interface", m.Interface); err != nil {
			return err
		}
		return once(&w.input, not(m.Not)+"-i "+m.Interface)
	case dataplane.MatchSet:
		return w.matchSet(m)
	case dataplane.MatchMark:
		return w.matchMark(m)
	case dataplane.MatchState:
		return w.matchState(m)
	case dataplane.MatchLocalSource:
		w.add("-m addrtype " + not(m.Not) + "--src-type LOCAL")
	case dataplane.MatchLocalDestination:
		w.add("-m addrtype " + not(m.Not) + "--dst-type LOCAL")
	default:
		return fmt.Errorf("match of type %T: %w", m, dataplane.ErrInvalid)
	}
	return nil
}

func (w *ruleWords) add(match string) { w.matches = append(w.matches, match) }

func (w *ruleWords) matchProtocol(m dataplane.MatchProtocol) error {
	switch m.Protocol {
	case dataplane.TCP, dataplane.UDP, dataplane.SCTP:
		w.tcp = m.Protocol == dataplane.TCP
		return once(&w.protocol, "-p "+m.Protocol.String())
	}
	return fmt.Errorf("%v is none of tcp, udp, sctp: %w", m.Protocol, dataplane.ErrInvalid)
}

func (w *ruleWords) matchSource(m dataplane.MatchSource) error {
	if !m.Prefix.IsValid() || dataplane.FamilyOf(m.Prefix.Addr()) != w.family {
		return fmt.Errorf("source %v in a rule for %v: %w", m.Prefix, w.family, dataplane.ErrInvalid)
	}
	if m.Prefix.Bits() == 0 {
		if m.Not {
			return fmt.Errorf("source outside %v can never match: %w", m.Prefix, dataplane.ErrInvalid)
		}
		return nil // iptables prints no -s for "any"
	}
	return once(&w.source, not(m.Not)+"-s "+m.Prefix.Masked().String())
}

func (w *ruleWords) matchSet(m dataplane.MatchSet) error {
	arguments, err := w.setArguments(m.Set, m.Fields)
	if err != nil {
		return err
	}
	w.add("-m set " + not(m.Not) + "--match-set " + arguments)
	return nil
}

func (w *ruleWords) matchMark(m dataplane.MatchMark) error {
	if m.Value&^m.Mask != 0 {
		return fmt.Errorf("mark 0x%x with bits outside mask 0x%x can never match: %w", m.Value, m.Mask, dataplane.ErrInvalid)
	}
	text := fmt.Sprintf("-m mark %s--mark 0x%x", not(m.Not), m.Value)
	if m.Mask != ^uint32(0) {
		text += fmt.Sprintf("/0x%x", m.Mask)
	}
	w.add(text)
	return nil
}

func (w *ruleWords) matchState(m dataplane.MatchState) error {
	known := strings.Split(ctStates, ",")
	for s := range strings.SplitSeq(m.States, ",") {
		if !slices.Contains(known, s) {
			return fmt.Errorf("connection state %q, known are %s: %w", s, ctStates, dataplane.ErrInvalid)
		}
	}
	w.add("-m conntrack " + not(m.Not) + "--ctstate " + sortStates(m.States))
	return nil
}

func (w *ruleWords) action(a dataplane.Action) (string, error) {
	switch a := a.(type) {
	case dataplane.Accept:
		return "-j ACCEPT", nil
	case dataplane.Drop:
		return "-j DROP", nil
	case dataplane.Return:
		return "-j RETURN", nil
	case dataplane.GoTo:
		return "-j " + a.Chain, word("chain", a.Chain)
	case dataplane.SetMark:
		return fmt.Sprintf("-j MARK --set-xmark 0x%x/0x%x", a.Value, a.Mask), nil
	case dataplane.SetMarkFrom:
		arguments, err := w.setArguments(a.Set, a.Fields)
		return "-j SET --map-set " + arguments + " --map-mark", err
	case dataplane.SNATToNode:
		if a.RandomPort {
			return "-j MASQUERADE --random-fully", nil
		}
		return "-j MASQUERADE", nil
	case dataplane.Reject:
		return w.reject(a.With)
	}
	return "", fmt.Errorf("action of type %T: %w", a, dataplane.ErrInvalid)
}

func (w *ruleWords) reject(with dataplane.RejectWith) (string, error) {
	const prefix = "-j REJECT --reject-with "
	switch {
	case with == dataplane.TCPReset && w.tcp:
		return prefix + "tcp-reset", nil
	case with == dataplane.TCPReset:
		return "", fmt.Errorf("a TCP reset needs a match on protocol tcp: %w", dataplane.ErrInvalid)
	case with == dataplane.PortUnreachable && w.family == dataplane.IPv6:
		return prefix + "icmp6-port-unreachable", nil
	case with == dataplane.PortUnreachable:
		return prefix + "icmp-port-unreachable", nil
	case with == dataplane.ProtocolUnreachable && w.family == dataplane.IPv4:
		return prefix + "icmp-proto-unreachable", nil
	}
	return "", fmt.Errorf("reject with answer %d on %v: %w", with, w.family, dataplane.ErrInvalid)
}

func (w *ruleWords) setArguments(set, fields string) (string, error) {
	for field := range strings.SplitSeq(fields, ",") {
		if field != "src" && field != "dst" {
			return "", fmt.Errorf("fields %q of set %s, each is src or dst: %w", fields, set, dataplane.ErrInvalid)
		}
	}
	return set + " " + fields, word("set", set)
}

// word refuses a name that would break the line that carries it into something else.
func word(what, name string) error {
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"'\`, r) }
	if name == "" || name[0] == '-' || name[0] == '!' || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("%s name %q: %w", what, name, dataplane.ErrInvalid)
	}
	return nil
}

// once fills a place that a rule has only one of.
func once(place *string, text string) error {
	if *place != "" {
		return fmt.Errorf("%q beside %q, a rule holds only one: %w", text, *place, dataplane.ErrInvalid)
	}
	*place = text
	return nil
}

func not(negated bool) string {
	if negated {
		return "! "
	}
	return ""
}

// sortStates puts a comma-separated list of conntrack states into iptables' order, without duplicates.
func sortStates(list string) string {
	order := strings.Split(ctStates, ",")
	states := slices.Compact(slices.SortedFunc(strings.SplitSeq(list, ","), func(a, b string) int {
		return slices.Index(order, a) - slices.Index(order, b)
	}))
	return strings.Join(states, ",")
}
