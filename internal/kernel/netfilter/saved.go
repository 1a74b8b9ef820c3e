package netfilter

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// saved is the parsed output of iptables-save: everything one family has.
type saved map[dataplane.Table]savedTable

// savedTable is one table as it is. The zero value is a table in which nothing exists.
type savedTable struct {
	chains  map[string][]string // each chain's rules in order, normalised "-A NAME …" lines; built-in chains too
	foreign bool                // nft(8) put things there that iptables cannot show
}

// parse reads iptables-save output. Output that ends inside a table, or has lines of an unknown kind, is an error: what
// was not read must not look like what is not there.
func parse(text string) (saved, error) {
	result := saved{}
	current := dataplane.Table("")
	for number, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, " \r")
		switch {
		case line == "":
		case line[0] == '#':
			if name, found := incompatible(line); found {
				result[name] = savedTable{chains: result[name].chains, foreign: true}
			}
		case line[0] == '*' && current == "":
			current = dataplane.Table(line[1:])
			result[current] = savedTable{chains: map[string][]string{}, foreign: result[current].foreign}
		case line == "COMMIT" && current != "":
			current = ""
		case line[0] == ':' && current != "":
			name, _, _ := strings.Cut(line[1:], " ")
			result[current].chains[name] = nil
		case strings.HasPrefix(line, "-A ") && current != "":
			name, _, _ := strings.Cut(line[3:], " ")
			result[current].chains[name] = append(result[current].chains[name], normalise(line))
		default:
			return nil, fmt.Errorf("line %d of iptables-save is not understood: %q: %w", number+1, line, dataplane.ErrInvalid)
		}
	}
	if current != "" {
		return nil, fmt.Errorf("iptables-save ended inside table %s: %w", current, dataplane.ErrInvalid)
	}
	return result, nil
}

// incompatible recognises the note with which iptables-nft-save leaves out a table: # Table `nat' is incompatible, use
// 'nft' tool.
func incompatible(line string) (dataplane.Table, bool) {
	rest, found := strings.CutPrefix(line, "# Table `")
	name, rest, closed := strings.Cut(rest, "'")
	return dataplane.Table(name), found && closed && strings.Contains(rest, "incompatible")
}

// normalise is the one place where differences between iptables variants and versions are evened out. iptables 1.8.9
// prints the same text for all that this package renders, legacy and nft; only the order of conntrack states is left to
// chance in rules that somebody else wrote in nft's own syntax.
func normalise(line string) string {
	before, rest, found := strings.Cut(line, "--ctstate ")
	if !found {
		return line
	}
	states, after, more := strings.Cut(rest, " ")
	line = before + "--ctstate " + sortStates(states)
	if more {
		line += " " + normalise(after)
	}
	return line
}

// bareJump returns the target of a rule that jumps unconditionally: nothing but a comment, whose words are nobody's
// business here, since kube-proxy and we may differ in them.
func bareJump(line string) (target string, ok bool) {
	_, rest, _ := strings.Cut(line[len("-A "):], " ")
	if after, found := strings.CutPrefix(rest, "-m comment --comment "); found {
		rest = skipWord(after)
	}
	target, found := strings.CutPrefix(rest, "-j ")
	return target, found && !strings.Contains(target, " ")
}

// skipWord drops the first word, which may be quoted, and the blank behind it.
func skipWord(text string) string {
	if !strings.HasPrefix(text, `"`) {
		_, rest, _ := strings.Cut(text, " ")
		return rest
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return strings.TrimPrefix(text[i+1:], " ")
		}
	}
	return ""
}

// leadsTo reports whether a rule jumps or goes to the chain, under whatever conditions. Words inside a comment that
// look like it are taken for it: the answer errs towards leaving things alone.
func leadsTo(line, chain string) bool {
	words := strings.Fields(line)
	for i := 0; i+1 < len(words); i++ {
		if (words[i] == "-j" || words[i] == "-g") && words[i+1] == chain {
			return true
		}
	}
	return false
}

// others iterates over the chains that are not ours, in order of their names.
func (t savedTable) others(want table) iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		for _, name := range slices.Sorted(maps.Keys(t.chains)) {
			ours := slices.ContainsFunc(want.chains, func(c chain) bool { return c.name == name })
			if !ours && !yield(name, t.chains[name]) {
				return
			}
		}
	}
}
