package dataplane

import "slices"

// Without returns the rule set as it can be while some sets are not there, and the comments of the rules left out of it, in
// order. A set that is not there holds nothing, so that no packet is in it: a rule that asks for one can as well be absent,
// whereas a packet filter that is given it refuses the whole table. (One that asks for what is not in a set is to be a
// shortcut past other rules and no more.) With it go the rules that were to spare what is in the
// set (Rule.Spares). All others stay, and so do all chains and jumps.
func (r Ruleset) Without(missing func(set string) bool) (kept Ruleset, left []string) {
	kept = r
	kept.Chains = make([]Chain, len(r.Chains))
	for i, chain := range r.Chains {
		rules := chain.Rules
		chain.Rules = nil
		for _, rule := range rules {
			if slices.ContainsFunc(rule.sets(), missing) {
				left = append(left, rule.Comment)
				continue
			}
			chain.Rules = append(chain.Rules, rule)
		}
		kept.Chains[i] = chain
	}
	return kept, left
}

// sets returns the names of the sets without which the rule would be refused or do harm.
func (r Rule) sets() []string {
	names := slices.Clone(r.Spares)
	for _, match := range r.Matches {
		if m, ok := match.(MatchSet); ok {
			names = append(names, m.Set)
		}
	}
	if action, ok := r.Action.(SetMarkFrom); ok {
		names = append(names, action.Set)
	}
	return names
}
