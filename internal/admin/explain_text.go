package admin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
)

// mostListed is how many endpoints are listed as text; -o json has all.
const mostListed = 30

// String prints the explanation for somebody who reads it.
func (e Explanation) String() string {
	var out strings.Builder
	if s := e.Service; s != nil {
		port := fmt.Sprint("port ", s.Number)
		if s.Port != "" {
			port = fmt.Sprintf("port %s (%d)", s.Port, s.Number)
		}
		fmt.Fprintf(&out, "%s is %s of Service %s/%s, %s.\n", e.Address, withArticles(s.Kinds), s.Namespace, s.Name, port)
		for _, setting := range s.Settings {
			fmt.Fprintf(&out, "  %s\n", setting)
		}
	} else {
		fmt.Fprintf(&out, "No Service is served at %s on %s.\n", e.Address, e.Node)
	}
	for _, note := range e.Notes {
		fmt.Fprintln(&out, note)
	}
	for i, outcome := range e.Clients {
		var before *Outcome
		if i > 0 {
			before = &e.Clients[i-1]
		}
		fmt.Fprintf(&out, "\n%s", outcome.text(before, e.Service != nil))
	}
	if !e.Daemon {
		fmt.Fprintln(&out, "\nNo kube-ipvs-proxy runs here: this is what one with these flags would do.")
	}
	return out.String()
}

// withArticles joins kinds of addresses for a sentence.
func withArticles(kinds []string) string {
	words := make([]string, len(kinds))
	for i, kind := range kinds {
		words[i] = "a " + kind
		if strings.HasPrefix(kind, "e") {
			words[i] = "an " + kind
		}
	}
	return strings.Join(words, " and ")
}

// text prints what becomes of one client's connections. What is as for the client before is not told twice.
func (o Outcome) text(before *Outcome, ofService bool) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s (%s): %s\n", capital(o.Client), o.From, o.headline())
	if o.Verdict == VerdictServed {
		fmt.Fprintf(&out, "  %s\n", o.sourceLine())
	}
	if o.Verdict == VerdictServed && len(o.VirtualServer) > 0 { // a daemon of another version may not say
		fmt.Fprintf(&out, "  virtual server: %s\n", strings.TrimPrefix(o.VirtualServer[0], "-A "))
	}
	switch {
	case len(o.Endpoints) == 0 && ofService:
		fmt.Fprintln(&out, "  no EndpointSlice of the Service has an endpoint with this port")
	case len(o.Endpoints) == 0:
	case before != nil && slices.Equal(o.Endpoints, before.Endpoints):
		fmt.Fprintln(&out, "  the same endpoints as above")
	default:
		out.WriteString(endpointTable(o.Endpoints))
	}
	if len(o.Draining) > 0 {
		fmt.Fprintf(&out, "  draining, with old connections only: %s\n", joined(o.Draining))
	}
	for _, hit := range o.Rules {
		if len(hit.Entries) > 0 {
			fmt.Fprintf(&out, "  %s %s %q %s: %s\n", hit.Table, hit.Chain, hit.Comment, hit.Does, strings.Join(hit.Entries, " and "))
		}
	}
	return out.String()
}

// headline says what becomes of the connections.
func (o Outcome) headline() string {
	switch o.Verdict {
	case VerdictServed:
		chosen := 0
		for _, candidate := range o.Endpoints {
			if candidate.Chosen {
				chosen++
			}
		}
		return fmt.Sprintf("SERVED by %d of %d endpoints", chosen, len(o.Endpoints))
	case VerdictRefused:
		return "REFUSED; a rule " + o.Because
	case VerdictDropped:
		return "DROPPED without an answer; a rule " + o.Because
	case VerdictElsewhere:
		return "NOT SERVED BY THIS NODE; " + o.Because
	case VerdictNode:
		return "LEFT TO THE NODE'S OWN PROCESSES; " + o.Because
	}
	return fmt.Sprintf("UNKNOWN: the daemon is of another version, and says %q; -o json has all it says", o.Verdict)
}

// capital begins a phrase as a sentence begins.
func capital(phrase string) string {
	if phrase == "" {
		return phrase
	}
	return strings.ToUpper(phrase[:1]) + phrase[1:]
}

// sourceLine says which address the endpoint sees.
func (o Outcome) sourceLine() string {
	text := "the endpoint sees the client's address"
	if o.Masqueraded {
		text = "masqueraded: the endpoint sees an address of this node"
	}
	if o.Source == "" {
		return text
	}
	return text + "; " + o.Source
}

// endpointTable lists endpoints, those that are chosen first.
func endpointTable(endpoints []Candidate) string {
	sorted := slices.Clone(endpoints)
	slices.SortStableFunc(sorted, func(a, b Candidate) int {
		switch {
		case a.Chosen == b.Chosen:
			return 0
		case a.Chosen:
			return -1
		}
		return 1
	})
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  ENDPOINT\tNODE\tZONE\tCHOSEN\t")
	for i, e := range sorted {
		if i == mostListed {
			break
		}
		word := "no: "
		if e.Chosen {
			word = "yes, "
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t\n", e.Address, orDash(e.Node), orDash(e.Zone), strings.TrimSuffix(word+e.Because, ", "))
	}
	_ = table.Flush() // a strings.Builder takes everything
	if more := len(sorted) - mostListed; more > 0 {
		fmt.Fprintf(&out, "  and %d more: -o json has all\n", more)
	}
	return trimLines(out.String())
}

// orDash is the cell of a table with a text that others chose: a line's end in it would look like a row of ours.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// trimLines drops blanks at the ends of lines.
func trimLines(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return out.String()
}

func joined(addrs []netip.AddrPort) string {
	words := make([]string, len(addrs))
	for i, addr := range addrs {
		words[i] = addr.String()
	}
	return strings.Join(words, ", ")
}
