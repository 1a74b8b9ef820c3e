package netfilter

import (
	"fmt"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// maxComment is the longest comment in bytes: the kernel's xt_comment has 256 with the closing zero.
const maxComment = 255

// table is what a rule set wants of one table, as text.
type table struct {
	name   dataplane.Table
	chains []chain
	jumps  []jump
}

// chain is one chain with its rules as iptables-save prints them: "-A NAME …".
type chain struct {
	name  string
	rules []string
}

// jump is a rule in a built-in chain that leads to one of ours; line is its printed form.
type jump struct {
	from, to string
	line     string
}

// Render returns the complete input of `iptables-restore --noflush` for a rule set, as on a host that has none of it:
// chains declared, which empties them if they exist, then their rules, then the jumps. An error wraps
// dataplane.ErrInvalid and names the rule that cannot be expressed.
func Render(rules dataplane.Ruleset) (string, error) {
	tables, err := compile(rules)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, t := range tables {
		text.WriteString(compare(t, savedTable{}).text(t.name))
	}
	return text.String(), nil
}

// compile renders a rule set table by table, in order of first mention.
func compile(rules dataplane.Ruleset) ([]table, error) {
	var tables []table
	at := func(name dataplane.Table) *table {
		i := slices.IndexFunc(tables, func(t table) bool { return t.name == name })
		if i < 0 {
			tables = append(tables, table{name: name})
			i = len(tables) - 1
		}
		return &tables[i]
	}
	for _, c := range rules.Chains {
		rendered, err := renderChain(rules.Family, c)
		if err != nil {
			return nil, fmt.Errorf("%v table %s chain %s %w", rules.Family, c.Table, c.Name, err)
		}
		t := at(c.Table)
		t.chains = append(t.chains, rendered)
	}
	for _, j := range rules.Jumps {
		line, err := renderRule(rules.Family, j.From, dataplane.Rule{Comment: j.Comment, Action: dataplane.GoTo{Chain: j.To}})
		if err != nil {
			return nil, fmt.Errorf("%v table %s jump %s to %s: %w", rules.Family, j.Table, j.From, j.To, err)
		}
		t := at(j.Table)
		t.jumps = append(t.jumps, jump{from: j.From, to: j.To, line: line})
	}
	return tables, nil
}

func renderChain(family dataplane.Family, c dataplane.Chain) (chain, error) {
	rendered := chain{name: c.Name, rules: make([]string, 0, len(c.Rules))}
	for i, r := range c.Rules {
		line, err := renderRule(family, c.Name, r)
		if err != nil {
			return chain{}, fmt.Errorf("rule %d: %w", i+1, err)
		}
		rendered.rules = append(rendered.rules, line)
	}
	return rendered, nil
}

// renderRule returns a rule as iptables-save prints it. Address, interface and protocol always come first there; the
// comment is put behind the other matches, where variants that keep comments apart from matches print it too.
func renderRule(family dataplane.Family, chainName string, r dataplane.Rule) (string, error) {
	words := ruleWords{family: family}
	if err := word("chain", chainName); err != nil {
		return "", err
	}
	for _, m := range r.Matches {
		if err := words.match(m); err != nil {
			return "", err
		}
	}
	comment, err := renderComment(r.Comment)
	if err != nil {
		return "", err
	}
	action, err := words.action(r.Action)
	if err != nil {
		return "", err
	}
	parts := append([]string{"-A " + chainName, words.source, words.input, words.protocol}, words.matches...)
	parts = append(parts, comment, action)
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " "), nil
}

// renderComment quotes as iptables' xtables_save_string does: only where something else than letters, digits, "_" and
// "-" occurs.
func renderComment(comment string) (string, error) {
	if comment == "" {
		return "", nil
	}
	if len(comment) > maxComment {
		return "", fmt.Errorf("comment of %d bytes, at most %d fit: %w", len(comment), maxComment, dataplane.ErrInvalid)
	}
	if strings.ContainsFunc(comment, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("comment %q has control characters: %w", comment, dataplane.ErrInvalid)
	}
	plain := !strings.ContainsFunc(comment, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
	})
	if !plain {
		comment = `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, `'`, `\'`).Replace(comment) + `"`
	}
	return "-m comment --comment " + comment, nil
}
