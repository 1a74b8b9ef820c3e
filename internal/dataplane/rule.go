package dataplane

import "net/netip"

// Table is a packet-filter table, by iptables' name.
type Table string

// The tables the proxy has chains in.
const (
	NAT    Table = "nat"
	Filter Table = "filter"
	Mangle Table = "mangle"
)

// Ruleset is everything the proxy wants of the packet filter for one family. It names sets, never addresses of
// Services, so that it stays the same however many Services there are.
type Ruleset struct {
	Family Family
	Chains []Chain
	Jumps  []Jump
}

// Chain is one chain of the proxy's own with all its rules, in order.
type Chain struct {
	Table Table
	Name  string
	Rules []Rule
}

// Jump is a rule in one of the host's built-in chains that leads into one of the proxy's. Jumps are prepended in the
// order given, so that the last comes first.
type Jump struct {
	Table   Table
	From    string // built-in chain, for example "PREROUTING"
	To      string
	Comment string
}

// Rule is one rule: when all matches hold, in order, the action is taken.
type Rule struct {
	Matches []Match
	Action  Action
	Comment string // at most 255 bytes; may be empty
	// Spares are sets whose packets earlier rules of the chain let pass. Where one of these sets is not there, nor are those
	// rules, and this one would hit what it was not meant for; see Ruleset.Without.
	Spares []string
}

// Match is one condition of a rule: one of the Match… types below.
type Match interface{ isMatch() }

// MatchProtocol holds for packets of one transport protocol.
type MatchProtocol struct{ Protocol Protocol }

// MatchSource holds for packets whose source address is inside the prefix, or outside with Not.
type MatchSource struct {
	Prefix netip.Prefix
	Not    bool
}

// MatchSet holds for packets that a set contains. Fields says which parts of the packet are looked up, one "src" or
// "dst" for each dimension of the set, for example "dst,dst".
type MatchSet struct {
	Set    string
	Fields string
	Not    bool
}

// MatchMark holds for packets whose mark has Value in the bits of Mask.
type MatchMark struct {
	Value, Mask uint32
	Not         bool
}

// MatchState holds for packets whose connection is in one of the conntrack states, comma-separated in upper case.
type MatchState struct {
	States string
	Not    bool
}

// MatchInput holds for packets that came in by the interface; a trailing "+" makes it a name prefix.
type MatchInput struct {
	Interface string
	Not       bool
}

// MatchLocalSource holds for packets whose source is an address of this host.
type MatchLocalSource struct{ Not bool }

// MatchLocalDestination holds for packets to an address of this host.
type MatchLocalDestination struct{ Not bool }

func (MatchProtocol) isMatch()         {}
func (MatchSource) isMatch()           {}
func (MatchSet) isMatch()              {}
func (MatchMark) isMatch()             {}
func (MatchState) isMatch()            {}
func (MatchInput) isMatch()            {}
func (MatchLocalSource) isMatch()      {}
func (MatchLocalDestination) isMatch() {}

// Action is what a rule does: one of the types below.
type Action interface{ isAction() }

// Accept ends the evaluation of the table: the packet goes on.
type Accept struct{}

// Drop discards the packet silently.
type Drop struct{}

// Return goes back to the calling chain.
type Return struct{}

// GoTo jumps to a chain of the same table and comes back unless that decides.
type GoTo struct{ Chain string }

// SetMark sets the packet's mark to (mark &^ Mask) ^ Value.
type SetMark struct{ Value, Mask uint32 }

// SetMarkFrom sets the packet's mark to the one that the matching entry of a set with Marks carries.
type SetMarkFrom struct{ Set, Fields string }

// SNATToNode rewrites the source to the address of the outgoing interface, with a random source port.
type SNATToNode struct{ RandomPort bool }

// Reject refuses the packet with an answer. An invalid combination (TCP reset for another protocol) is the caller's
// error; the packet filter refuses it.
type Reject struct{ With RejectWith }

// RejectWith is the kind of answer that Reject sends.
type RejectWith uint8

// The answers. ProtocolUnreachable exists on IPv4 only.
const (
	PortUnreachable RejectWith = iota
	TCPReset
	ProtocolUnreachable
)

func (Accept) isAction()      {}
func (Drop) isAction()        {}
func (Return) isAction()      {}
func (GoTo) isAction()        {}
func (SetMark) isAction()     {}
func (SetMarkFrom) isAction() {}
func (SNATToNode) isAction()  {}
func (Reject) isAction()      {}
