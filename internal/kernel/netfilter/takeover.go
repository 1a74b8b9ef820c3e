package netfilter

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// EnsureSparing is Ensure, except that it leaves those tables as they are in which one of the chains holds rules other than
// the wanted ones. Whoever made these still decides about connections, by what it knows; rules that refer to sets without
// entries would decide wrongly. It reports whether there is work for Succeed, once the sets have theirs: tables that were
// left, or something of kube-proxy's mode iptables.
func (d *Driver) EnsureSparing(ctx context.Context, rulesets []dataplane.Ruleset) (repaired []string, spared bool, err error) {
	repaired, err = d.forEach(ctx, rulesets, func(want table, have savedTable) (change, error) {
		spare := occupied(want, have)
		spared = spared || spare || !leftoversIn(want, have).empty()
		if spare {
			return change{}, nil
		}
		return compare(want, have), nil
	})
	return repaired, spared, err
}

// occupied reports whether a chain has rules that are not the wanted ones, and are not known to be of an earlier run with other
// settings: those refer to all sets that the wanted ones do, so that these have their entries. An empty chain decides nothing.
func occupied(want table, have savedTable) bool {
	others, needed, used := false, map[string]bool{}, map[string]bool{}
	for _, w := range want.chains {
		rules := have.chains[w.name]
		others = others || len(rules) > 0 && !slices.Equal(w.rules, rules)
		addSets(needed, w.rules)
		addSets(used, rules)
	}
	if !others {
		return false
	}
	for set := range needed {
		if !used[set] {
			return true
		}
	}
	return len(needed) == 0
}

// addSets adds the names of the sets that rules refer to. Words inside a comment may be taken for one.
func addSets(to map[string]bool, rules []string) {
	for _, line := range rules {
		words := strings.Fields(line)
		for i := range len(words) - 1 {
			if words[i] == "--match-set" || words[i] == "--map-set" {
				to[words[i+1]] = true
			}
		}
	}
}

// Succeed is Ensure, and removes what kube-proxy's mode iptables has left, whose rules would go on sending connections to
// the endpoints of their time. Each table changes in one commit.
func (d *Driver) Succeed(ctx context.Context, rulesets []dataplane.Ruleset) (repaired []string, err error) {
	d.settle()
	d.readings = nil // what was read while the variant was looked for is too old
	return d.forEach(ctx, rulesets, func(want table, have savedTable) (change, error) {
		c := compare(want, have)
		c.merge(leftoversIn(want, have))
		return c, nil
	})
}

// merge adds what another change does.
func (c *change) merge(other change) {
	c.declare = append(c.declare, other.declare...)
	c.remove = append(c.remove, other.remove...)
	c.fill = append(c.fill, other.fill...)
	c.insert = append(c.insert, other.insert...)
	c.destroy = append(c.destroy, other.destroy...)
	c.because = append(c.because, other.because...)
}

// leftoversIn returns what takes away the chains and jumps of kube-proxy's mode iptables, apart from those that have the
// names of wanted ones.
func leftoversIn(want table, have savedTable) change {
	var c change
	gone := map[string]bool{}
	for name := range have.chains {
		if ofIptablesMode(want.name, name) {
			gone[name] = true
		}
	}
	used := map[string]string{} // chain → a rule of others that leads to it
	for from, rules := range have.others(want) {
		if gone[from] {
			continue
		}
		for _, line := range rules {
			to := target(line)
			switch {
			case gone[to] && jumpOfIptablesMode(line), want.name == dataplane.Filter && isFirewallJump(line):
				c.remove = append(c.remove, "-D"+strings.TrimPrefix(line, "-A"))
				c.because = append(c.because, fmt.Sprintf("jump %s to %s of kube-proxy's mode iptables removed", from, to))
			case gone[to]:
				used[to] = line
			}
		}
	}
	c.destroyAll(gone, used)
	return c
}
