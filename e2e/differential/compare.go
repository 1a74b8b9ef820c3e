package differential

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Difference is a thing that only one of the two proxies has.
type Difference struct {
	Item
	Ours bool // only the daemon has it; otherwise only kube-proxy
}

// String prints the difference as a line of a diff from kube-proxy to the daemon.
func (d Difference) String() string {
	if d.Ours {
		return "+ " + d.Item.String()
	}
	return "- " + d.Item.String()
}

// Pair is what is compared.
type Pair struct {
	Theirs, Ours State
	// OtherNodes are the addresses of the other Node objects, and NodePorts those of the node that NodePorts may be served on.
	OtherNodes, NodePorts []netip.Addr
}

// Report is the outcome of a comparison.
type Report struct {
	// Differences are those that no rule allows, sorted.
	Differences []Difference
	// Allowed are the others, by the name of the rule.
	Allowed map[string][]Difference
}

// Compare holds two states against each other. Each difference counts for the first of the rules that allows it.
func Compare(p Pair, rules []Rule) Report {
	report := Report{Allowed: map[string][]Difference{}}
	for _, d := range p.differences() {
		i := slices.IndexFunc(rules, func(r Rule) bool { return r.Allows(d, p) })
		if i < 0 {
			report.Differences = append(report.Differences, d)
			continue
		}
		report.Allowed[rules[i].Name] = append(report.Allowed[rules[i].Name], d)
	}
	return report
}

// differences are all that there are, sorted by what they are about.
func (p Pair) differences() []Difference {
	var all []Difference
	for item := range p.Theirs {
		if !p.Ours.Has(item) {
			all = append(all, Difference{item, false})
		}
	}
	for item := range p.Ours {
		if !p.Theirs.Has(item) {
			all = append(all, Difference{item, true})
		}
	}
	slices.SortFunc(all, func(a, b Difference) int { return compareItems(a.Item, b.Item) })
	return all
}

// mostShown is how many differences a message has room for.
const mostShown = 40

// Err says what differs, or nil.
func (r Report) Err() error {
	if len(r.Differences) == 0 {
		return nil
	}
	var text strings.Builder
	for _, d := range r.Differences[:min(len(r.Differences), mostShown)] {
		text.WriteString("\n" + d.String())
	}
	return fmt.Errorf("%d differences (- kube-proxy, + kube-ipvs-proxy):%s", len(r.Differences), text.String())
}
