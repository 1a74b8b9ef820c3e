package netfilter

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// Ensure makes the chains and jumps of the rule sets, one for each family, exist as described. It executes one
// iptables-save per family and, if something differs, one iptables-restore; only when that fails the tables are read again
// and written one by one. It returns a line for each thing that was repaired, such as "IPv4 table nat: chain
// KUBE-SERVICES was missing". A family or table that fails does not keep the others from being repaired; the errors are
// joined. If nf_tables is as it was when the same was in order, it executes nothing.
func (d *Driver) Ensure(ctx context.Context, rulesets []dataplane.Ruleset) (repaired []string, err error) {
	generation := d.generation(ctx)
	if d.last.holds(generation, rulesets) {
		return nil, nil
	}
	repaired, err = d.forEach(ctx, rulesets, func(want table, have savedTable) (change, error) {
		return compare(want, have), nil
	})
	d.last.settle(generation, rulesets, repaired, err)
	return repaired, err
}

// Remove takes away the jumps and chains of the rule sets and returns a line for each. A chain that a rule of others
// leads to cannot go: it is emptied, and the error, which wraps dataplane.ErrConflict, names that rule.
func (d *Driver) Remove(ctx context.Context, rulesets []dataplane.Ruleset) (removed []string, err error) {
	d.settle()
	d.readings = nil // see Retarget
	return d.forEach(ctx, rulesets, removal)
}

// Retarget makes the rules in the rule sets' chains that refer to one set refer to another, which must exist, so that
// the first can be destroyed while traffic goes on. The rules of kube-proxy in chains of these names count too. A later
// Ensure puts the rules right again. When rules of others refer to the set, nothing is changed in that table and the
// error, which wraps dataplane.ErrConflict, names them. It returns a line for each chain changed.
func (d *Driver) Retarget(ctx context.Context, rulesets []dataplane.Ruleset, from, to string) (changed []string, err error) {
	if err := word("set", to); err != nil {
		return nil, err
	}
	reference := regexp.MustCompile(`(--(?:match|map|add|del)-set )` + regexp.QuoteMeta(from) + ` `)
	d.settle()
	d.readings = nil // what was read while the variant was looked for may lack a rule that others have made since
	return d.forEach(ctx, rulesets, func(want table, have savedTable) (change, error) {
		return retargeting(want, have, reference, to)
	})
}

// removal empties our chains, takes out the jumps to them, then destroys those that nobody else uses.
func removal(want table, have savedTable) (change, error) {
	var c change
	for _, w := range want.jumps {
		for _, j := range standing(have.chains[w.from], w) {
			c.remove = append(c.remove, "-D"+strings.TrimPrefix(j.line, "-A"))
			c.because = append(c.because, fmt.Sprintf("jump %s to %s removed", w.from, w.to))
		}
	}
	var errs []error
	for _, w := range want.chains {
		if _, exists := have.chains[w.name]; !exists {
			continue
		}
		c.rewrite(w.name, nil)
		if user := foreignUser(want, have, w.name); user != "" {
			c.because = append(c.because, fmt.Sprintf("chain %s emptied", w.name))
			errs = append(errs, fmt.Errorf("chain %s is emptied but kept, since a rule of others leads to it (%s): %w; delete that rule",
				w.name, user, dataplane.ErrConflict))
			continue
		}
		c.destroy = append(c.destroy, "-X "+w.name)
		c.because = append(c.because, fmt.Sprintf("chain %s removed", w.name))
	}
	return c, errors.Join(errs...)
}

// foreignUser returns a rule outside our chains and jumps that leads to the chain.
func foreignUser(want table, have savedTable, name string) string {
	for from, rules := range have.others(want) {
		for _, line := range rules {
			if leadsTo(line, name) && !isJump(want, from, line, name) {
				return line
			}
		}
	}
	return ""
}

func isJump(want table, from, line, to string) bool {
	for _, j := range want.jumps {
		if target, ok := bareJump(line); ok && target == to && j.from == from && j.to == to {
			return true
		}
	}
	return false
}

// retargeting rewrites our chains that refer to the set; foreign references forbid any change.
func retargeting(want table, have savedTable, reference *regexp.Regexp, to string) (change, error) {
	for _, rules := range have.others(want) {
		for _, line := range rules {
			if reference.MatchString(line) {
				return change{}, fmt.Errorf("a rule of others refers to the set (%s): %w; delete that rule", line, dataplane.ErrConflict)
			}
		}
	}
	var c change
	for _, w := range want.chains {
		rules := have.chains[w.name]
		if !reference.MatchString(strings.Join(rules, "\n")) {
			continue
		}
		moved := make([]string, len(rules))
		for i, line := range rules {
			moved[i] = reference.ReplaceAllString(line, "${1}"+to+" ")
		}
		c.rewrite(w.name, moved)
		c.because = append(c.because, fmt.Sprintf("chain %s refers to %s now", w.name, to))
	}
	return c, nil
}
