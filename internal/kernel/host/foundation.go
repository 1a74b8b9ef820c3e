package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/ipset"
)

// EnsureFoundation implements kernel.Kernel: whatever becomes of one part, the others are tried.
func (h *Host) EnsureFoundation(ctx context.Context, foundation kernel.Foundation) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ensure the foundation: %w", err)
	}
	repaired, deviceErr := h.link.EnsureDevice(ctx)
	h.bare = errors.Is(deviceErr, dataplane.ErrConflict) || errors.Is(deviceErr, dataplane.ErrUnavailable)
	lines, setsErr := h.ensureSets(ctx, foundation)
	repaired = append(repaired, lines...)
	var missing []string
	h.names, missing = h.divide(ctx, foundation.Sets, setsErr)
	lines, rulesErr := h.ensureRules(ctx, foundation, missing)
	repaired = append(repaired, lines...)
	if err := errors.Join(deviceErr, setsErr, rulesErr); err != nil {
		return repaired, fmt.Errorf("ensure the foundation: %w", err)
	}
	return repaired, nil
}

// ensureRules makes the rules exist, without those that need a missing set. What is left out is part of the error.
func (h *Host) ensureRules(ctx context.Context, foundation kernel.Foundation, missing []string) ([]string, error) {
	rulesets, left := make([]dataplane.Ruleset, len(foundation.Rulesets)), []string(nil)
	for i, rules := range foundation.Rulesets {
		var comments []string
		rulesets[i], comments = rules.Without(func(set string) bool { return slices.Contains(missing, set) })
		for _, comment := range comments {
			if comment = strconv.Quote(comment); !slices.Contains(left, comment) {
				left = append(left, comment)
			}
		}
	}
	repaired, err := h.install(ctx, rulesets, foundation.Takeover)
	if err == nil && foundation.Takeover != kernel.Spare { // what is spared may use them
		err = h.sweep(ctx, foundation.Sets)
	}
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("until there is a set %s of the right type, the packet filter lacks the rules %s",
			strings.Join(missing, ", "), strings.Join(left, ", ")))
	}
	return repaired, err
}

// divide parts the sets, after an attempt to ensure them, in two. Missing are those of which it is certain that they hold
// nothing of ours: one of another type is in their place still, or there is none. All others are there, or may be: rules
// that use them are not to be taken away, and a snapshot without them must not pass for complete.
func (h *Host) divide(ctx context.Context, sets []dataplane.Set, ensured error) (there, missing []string) {
	conflicts, others := conflictsIn(ensured)
	for _, set := range sets {
		inTheWay := slices.ContainsFunc(conflicts, func(c *ipset.ConflictError) bool { return c.Set == set.Name })
		if inTheWay || others != nil && h.lacks(ctx, set.Name) {
			missing = append(missing, set.Name)
		} else {
			there = append(there, set.Name)
		}
	}
	return there, missing
}

// lacks reports whether it is certain that there is no such set.
func (h *Host) lacks(ctx context.Context, set string) bool {
	_, err := h.ipset.Entries(ctx, []string{set})
	return errors.Is(err, dataplane.ErrNotExist)
}

// ensureSets makes the sets exist. A set of another type in the way cannot be swapped, nor destroyed while rules use it:
// the rules are first pointed to a stand-in, which is swept away once they are back (P22). The stand-in is of
// the new type and empty: entries of one type mean nothing in another, and the reconciler fills the new set in its next
// round.
func (h *Host) ensureSets(ctx context.Context, foundation kernel.Foundation) (repaired []string, err error) {
	repaired, err = h.ipset.Ensure(ctx, foundation.Sets)
	conflicts, err := conflictsIn(err)
	for _, conflict := range conflicts {
		at := slices.IndexFunc(foundation.Sets, func(s dataplane.Set) bool { return s.Name == conflict.Set })
		if at < 0 {
			return repaired, errors.Join(err, conflict)
		}
		set := foundation.Sets[at]
		if failed := h.replace(ctx, set, foundation.Rulesets); failed != nil {
			err = errors.Join(err, fmt.Errorf("%w: %w", conflict, failed))
			continue
		}
		repaired = append(repaired, fmt.Sprintf("replaced set %s, which was %s, by %s", set.Name, conflict.Found, conflict.Wanted))
	}
	return repaired, err
}

// conflictsIn separates the sets that are in the way from the other errors, the latter as they are.
func conflictsIn(err error) (conflicts []*ipset.ConflictError, others error) {
	var rest []error
	var visit func(error)
	visit = func(err error) {
		conflict, found := errors.AsType[*ipset.ConflictError](err)
		if !found { // kept whole: it says which object it is about
			rest = append(rest, err)
			return
		}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range joined.Unwrap() {
				visit(one)
			}
			return
		}
		conflicts = append(conflicts, conflict)
	}
	if err != nil {
		visit(err)
	}
	return conflicts, errors.Join(rest...)
}

// replace puts an empty set in the place of one of another type, which rules may use.
func (h *Host) replace(ctx context.Context, set dataplane.Set, rulesets []dataplane.Ruleset) error {
	standIn := set
	standIn.Name = standInFor(set.Name)
	h.swept = false
	if _, err := h.ipset.Ensure(ctx, []dataplane.Set{standIn}); err != nil {
		return err
	}
	if _, err := h.rules.Retarget(ctx, rulesets, set.Name, standIn.Name); err != nil {
		return err
	}
	return h.ipset.Replace(ctx, set)
}

// standInFor returns the name of the set that rules use while the named one is replaced. It is not the name under which
// package ipset prepares replacements, since that one it destroys at every check.
func standInFor(set string) string { return ipset.TemporaryName(set + " in rules") }

// sweep destroys the stand-ins, of this process or an earlier one. The rules being ensured, none uses them any more.
func (h *Host) sweep(ctx context.Context, sets []dataplane.Set) error {
	if h.swept {
		return nil
	}
	var standIns []string
	for _, set := range sets {
		standIns = append(standIns, standInFor(set.Name))
	}
	if err := h.ipset.Sweep(ctx, standIns); err != nil {
		return fmt.Errorf("destroy sets that stood in for others: %w", err)
	}
	h.swept = true
	return nil
}

// RemoveFoundation takes away rules, sets and the device, in this order, and returns a line for each. It is the opposite
// of EnsureFoundation, for an operator who leaves; virtual servers are removed by operations before. What somebody else
// still uses stays, and is an error that says so.
func (h *Host) RemoveFoundation(ctx context.Context, foundation kernel.Foundation) ([]string, error) {
	removed, err := h.RemoveBeside(ctx, foundation)
	lines, deviceErr := h.link.RemoveDevice(ctx)
	if err := errors.Join(err, deviceErr); err != nil {
		return append(removed, lines...), fmt.Errorf("remove the foundation: %w", err)
	}
	return append(removed, lines...), nil
}
