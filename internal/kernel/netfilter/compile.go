package netfilter

import "kube-ipvs-proxy/internal/dataplane"

// Table is what a rule set wants of one table, rule by rule as iptables-save prints them.
type Table struct {
	Family dataplane.Family
	Name   dataplane.Table
	Chains []CompiledChain
	Jumps  []CompiledJump
}

// CompiledChain is a chain of the proxy's with all its rules.
type CompiledChain struct {
	Name  string
	Rules []string
}

// CompiledJump is a rule in a built-in chain that leads to one of the proxy's. Of those in one chain, the last comes first.
type CompiledJump struct{ From, To, Rule string }

// Compile returns what a rule set wants of each table. An error wraps dataplane.ErrInvalid and names the rule that cannot
// be expressed.
func Compile(rules dataplane.Ruleset) ([]Table, error) {
	compiled, err := compile(rules)
	if err != nil {
		return nil, err
	}
	tables := make([]Table, len(compiled))
	for i, t := range compiled {
		tables[i] = Table{Family: rules.Family, Name: t.name}
		for _, c := range t.chains {
			tables[i].Chains = append(tables[i].Chains, CompiledChain{Name: c.name, Rules: c.rules})
		}
		for _, j := range t.jumps {
			tables[i].Jumps = append(tables[i].Jumps, CompiledJump{From: j.from, To: j.to, Rule: j.line})
		}
	}
	return tables, nil
}
