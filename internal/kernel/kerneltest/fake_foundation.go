package kerneltest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
)

// EnsureFoundation implements kernel.Kernel: device, sets, then rules. It keeps the entries of a set whose parameters
// change but not its type and family, and refuses rules that the packet filter would refuse.
func (f *Fake) EnsureFoundation(ctx context.Context, foundation kernel.Foundation) ([]string, error) {
	err := f.begin(ctx)
	defer f.mu.Unlock()
	f.record.counts.Foundations++
	if err != nil {
		return nil, err
	}
	repaired, err := f.ensureDevice()
	if err != nil {
		return repaired, err
	}
	f.sets.foundation = setNames(foundation.Sets) // even if one cannot be had: a snapshot must not pass for complete without it
	for _, set := range foundation.Sets {
		line, err := f.ensureSet(set)
		if line != "" {
			repaired = append(repaired, line)
		}
		if err != nil {
			return repaired, err
		}
	}
	f.spared = false
	for _, rules := range foundation.Rulesets {
		if err := f.validRuleset(rules); err != nil {
			return repaired, fmt.Errorf("%s rules: %w", rules.Family, err)
		}
		others, some := f.rules[rules.Family]
		if reflect.DeepEqual(others, rules) {
			continue
		}
		if some && foundation.Takeover == kernel.Spare {
			f.spared = true
			continue
		}
		f.rules[rules.Family] = rules
		repaired = append(repaired, fmt.Sprintf("installed %s rules", rules.Family))
	}
	return repaired, nil
}

// Spared implements kernel.Kernel.
func (f *Fake) Spared() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.spared
}

func setNames(sets []dataplane.Set) []string {
	var names []string
	for _, set := range sets {
		names = append(names, set.Name)
	}
	return names
}

func (f *Fake) ensureDevice() ([]string, error) {
	if f.link.kind == "" {
		f.link.kind = "dummy"
		return []string{"created device " + dataplane.Device}, nil
	}
	return nil, f.link.usable()
}

func (f *Fake) ensureSet(set dataplane.Set) (string, error) {
	if err := validSet(set); err != nil {
		return "", fmt.Errorf("%s: %w", set, err)
	}
	there := f.sets.byName[set.Name]
	if there != nil && there.Type == set.Type && there.Family == set.Family {
		if there.MaxElem >= set.MaxElem && there.Marks == set.Marks {
			return "", nil // a larger one is fine
		}
		set.MaxElem = max(set.MaxElem, there.MaxElem)
		f.sets.byName[set.Name] = there.clone(set)
		return "recreated set " + set.Name + " with its entries", nil
	}
	f.sets.byName[set.Name] = &fakeSet{Set: set, entries: map[dataplane.Entry]dataplane.Entry{}}
	if there != nil {
		return fmt.Sprintf("replaced set %s of type %s", set.Name, there.Type), nil
	}
	return "created set " + set.Name, nil
}

func validSet(set dataplane.Set) error {
	switch {
	case set.Name == "" || len(set.Name) > 31:
		return invalid("the name must have 1 to 31 bytes")
	case set.Type < dataplane.HashIP || set.Type > dataplane.BitmapPort:
		return invalid("unknown type")
	case set.Family != dataplane.IPv4 && set.Family != dataplane.IPv6:
		return invalid("family %d", set.Family)
	case set.Type == dataplane.BitmapPort && (set.Family != dataplane.IPv4 || set.HashSize != 0 || set.MaxElem != 0):
		return invalid("a bitmap has neither family, buckets nor a limit")
	case set.Type != dataplane.BitmapPort && (set.MaxElem == 0 || set.HashSize == 0):
		return invalid("a hash needs buckets and a limit")
	}
	return nil
}

// used reports whether a rule refers to the set.
func (f *Fake) used(set string) bool {
	for _, rules := range f.rules {
		for _, chain := range rules.Chains {
			for _, rule := range chain.Rules {
				if slices.ContainsFunc(setsOf(rule), func(use setUse) bool { return use.set == set }) {
					return true
				}
			}
		}
	}
	return false
}

// setUse is a reference of a rule to a set.
type setUse struct{ set, fields string }

func setsOf(rule dataplane.Rule) []setUse {
	var uses []setUse
	for _, match := range rule.Matches {
		if m, ok := match.(dataplane.MatchSet); ok {
			uses = append(uses, setUse{m.Set, m.Fields})
		}
	}
	if a, ok := rule.Action.(dataplane.SetMarkFrom); ok {
		uses = append(uses, setUse{a.Set, a.Fields})
	}
	return uses
}

func (f *Fake) validRuleset(rules dataplane.Ruleset) error {
	chains := map[string]bool{}
	for _, chain := range rules.Chains {
		if len(chain.Name) > 28 || chain.Name == "" {
			return invalid("chain name %q must have 1 to 28 bytes", chain.Name)
		}
		chains[string(chain.Table)+" "+chain.Name] = true
	}
	for _, jump := range rules.Jumps {
		if !chains[string(jump.Table)+" "+jump.To] || !builtIn(jump.Table, jump.From) {
			return invalid("jump from %s to %s in table %s", jump.From, jump.To, jump.Table)
		}
	}
	for _, chain := range rules.Chains {
		for i, rule := range chain.Rules {
			goTo, isGoTo := rule.Action.(dataplane.GoTo)
			err := f.validRule(rules.Family, chain.Table, rule)
			if isGoTo && !chains[string(chain.Table)+" "+goTo.Chain] {
				err = fmt.Errorf("chain %s: %w", goTo.Chain, dataplane.ErrNotExist)
			}
			if err != nil {
				return fmt.Errorf("table %s, chain %s, rule %d: %w", chain.Table, chain.Name, i+1, err)
			}
		}
	}
	return nil
}

func builtIn(table dataplane.Table, chain string) bool {
	return slices.Contains(map[dataplane.Table][]string{
		dataplane.NAT:    {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"},
		dataplane.Filter: {"INPUT", "FORWARD", "OUTPUT"},
		dataplane.Mangle: {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
	}[table], chain)
}

func (f *Fake) validRule(family dataplane.Family, table dataplane.Table, rule dataplane.Rule) error {
	if len(rule.Comment) > 255 {
		return invalid("a comment of %d bytes", len(rule.Comment))
	}
	for _, use := range setsOf(rule) {
		if err := f.validUse(family, use); err != nil {
			return err
		}
	}
	protocol := dataplane.Protocol(0)
	for _, match := range rule.Matches {
		switch m := match.(type) {
		case dataplane.MatchProtocol:
			protocol = m.Protocol
		case dataplane.MatchSource:
			if !ofFamily(m.Prefix.Addr(), family) {
				return invalid("source %s is not %s", m.Prefix, family)
			}
		}
	}
	switch action := rule.Action.(type) {
	case dataplane.SNATToNode:
		if table != dataplane.NAT {
			return invalid("masquerading outside table nat")
		}
	case dataplane.SetMarkFrom:
		if set := f.sets.byName[action.Set]; table != dataplane.Mangle || !set.Marks {
			return invalid("a mark from a set needs table mangle and a set with marks")
		}
	case dataplane.Reject:
		return validReject(family, table, protocol, action.With)
	case nil:
		return invalid("no action")
	}
	return nil
}

func validReject(family dataplane.Family, table dataplane.Table, protocol dataplane.Protocol, with dataplane.RejectWith) error {
	switch {
	case table != dataplane.Filter:
		return invalid("a reject outside table filter")
	case with == dataplane.TCPReset && protocol != dataplane.TCP:
		return invalid("a TCP reset for %s", protocol)
	case with == dataplane.ProtocolUnreachable && family != dataplane.IPv4:
		return invalid("protocol unreachable for %s", family)
	}
	return nil
}

// validUse checks that a rule's set exists, fits the family, and is looked up by as many fields as it has dimensions.
func (f *Fake) validUse(family dataplane.Family, use setUse) error {
	set := f.sets.byName[use.set]
	if set == nil {
		return fmt.Errorf("set %s: %w", use.set, dataplane.ErrNotExist)
	}
	fields := strings.Split(use.fields, ",")
	for _, field := range fields {
		if field != "src" && field != "dst" {
			return invalid("field %q of set %s", field, use.set)
		}
	}
	dimensions := strings.Count(set.Type.String(), ",") + 1
	if len(fields) != dimensions {
		return invalid("set %s has %d dimensions, not %d", use.set, dimensions, len(fields))
	}
	if set.Type != dataplane.BitmapPort && set.Family != family {
		return invalid("set %s is of family %s", use.set, set.Family)
	}
	return nil
}
