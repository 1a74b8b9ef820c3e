package admin

import (
	"fmt"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/packet"
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

// filter passes packets through the rules of one family, and has these as text.
type filter struct {
	packet.Filter
	lines map[chainID][]string
}

// chainID identifies a chain: two tables may have one of the same name.
type chainID struct{ table, name string }

// pass is Filter.Pass with the rules as people read them.
func (f filter) pass(table dataplane.Table, builtin string, p *packet.Packet) ([]Hit, dataplane.Action, error) {
	met, end, err := f.Pass(table, builtin, p)
	hits := make([]Hit, len(met))
	for i, m := range met {
		hits[i] = Hit{Table: string(m.Table), Chain: m.Chain, Comment: m.Rule.Comment, Does: phraseOf(m.Rule.Action), action: m.Rule.Action}
		if lines := f.lines[chainID{string(m.Table), m.Chain}]; m.Number < len(lines) {
			hits[i].Rule = lines[m.Number]
		}
		for _, entry := range m.Entries {
			hits[i].Entries = append(hits[i].Entries, strings.TrimPrefix(entry.String(), "add "))
		}
	}
	return hits, end, err
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
