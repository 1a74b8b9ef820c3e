package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/ipset"
)

// EnsureFoundation implements kernel.Kernel. The device does not depend on the rest, so that one is tried whatever becomes of
// the other; rules are not touched unless all their sets are there.
func (h *Host) EnsureFoundation(ctx context.Context, foundation kernel.Foundation) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ensure the foundation: %w", err)
	}
	repaired, deviceErr := h.link.EnsureDevice(ctx)
	h.bare = errors.Is(deviceErr, dataplane.ErrConflict) || errors.Is(deviceErr, dataplane.ErrUnavailable)
	lines, standIns, err := h.ensureSets(ctx, foundation)
	h.names = h.setNames(ctx, foundation.Sets, err)
	repaired = append(repaired, lines...)
	if err == nil {
		lines, err = h.rules.Ensure(ctx, foundation.Rulesets)
		repaired = append(repaired, lines...)
	}
	if err == nil {
		err = h.sweep(ctx, foundation.Sets, standIns)
	}
	if err = errors.Join(deviceErr, err); err != nil {
		return repaired, fmt.Errorf("ensure the foundation: %w", err)
	}
	return repaired, nil
}

// setNames returns the names of the sets that a snapshot has to read: all, since without one it must not pass for complete,
// except those of which it is known that they hold nothing of ours. In their place there is one of another type still, or
// the kernel does not have their type.
func (h *Host) setNames(ctx context.Context, sets []dataplane.Set, ensured error) []string {
	names := make([]string, 0, len(sets))
	conflicts, _ := conflictsIn(ensured)
	for _, set := range sets {
		inTheWay := slices.ContainsFunc(conflicts, func(c *ipset.ConflictError) bool { return c.Set == set.Name })
		if !inTheWay && !(errors.Is(ensured, dataplane.ErrUnavailable) && h.lacks(ctx, set.Name)) {
			names = append(names, set.Name)
		}
	}
	return names
}

// lacks reports whether it is certain that there is no such set.
func (h *Host) lacks(ctx context.Context, set string) bool {
	_, err := h.ipset.Entries(ctx, []string{set})
	return errors.Is(err, dataplane.ErrNotExist)
}

// ensureSets makes the sets exist. A set of another type in the way cannot be swapped, nor destroyed while rules use it:
// the rules are first pointed to a stand-in, which the caller destroys once they are back (P22). The stand-in is of
// the new type and empty: entries of one type mean nothing in another, and the reconciler fills the new set in its next
// round.
func (h *Host) ensureSets(ctx context.Context, foundation kernel.Foundation) (repaired, standIns []string, err error) {
	repaired, err = h.ipset.Ensure(ctx, foundation.Sets)
	conflicts, err := conflictsIn(err)
	for _, conflict := range conflicts {
		at := slices.IndexFunc(foundation.Sets, func(s dataplane.Set) bool { return s.Name == conflict.Set })
		if at < 0 {
			return repaired, standIns, errors.Join(err, conflict)
		}
		set := foundation.Sets[at]
		standIns = append(standIns, standInFor(set.Name))
		if failed := h.replace(ctx, set, foundation.Rulesets); failed != nil {
			err = errors.Join(err, fmt.Errorf("%w: %w", conflict, failed))
			continue
		}
		repaired = append(repaired, fmt.Sprintf("replaced set %s, which was %s, by %s", set.Name, conflict.Found, conflict.Wanted))
	}
	return repaired, standIns, err
}

// conflictsIn separates the sets that are in the way from the other errors.
func conflictsIn(err error) (conflicts []*ipset.ConflictError, others error) {
	var rest []error
	var visit func(error)
	visit = func(err error) {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range joined.Unwrap() {
				visit(one)
			}
			return
		}
		if conflict, ok := errors.AsType[*ipset.ConflictError](err); ok {
			conflicts = append(conflicts, conflict)
			return
		}
		rest = append(rest, err)
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

// sweep destroys stand-ins that no rule uses any more: those of this call, and once those that an earlier process may
// have left behind.
func (h *Host) sweep(ctx context.Context, sets []dataplane.Set, standIns []string) error {
	if !h.swept {
		for _, set := range sets {
			standIns = append(standIns, standInFor(set.Name))
		}
	}
	for _, name := range standIns {
		if err := h.ipset.Destroy(ctx, name); err != nil {
			return fmt.Errorf("destroy the stand-in of a replaced set: %w", err)
		}
	}
	h.swept = true
	return nil
}

// RemoveFoundation takes away rules, sets and the device, in this order, and returns a line for each. It is the opposite
// of EnsureFoundation, for an operator who leaves; virtual servers are removed by operations before. What somebody else
// still uses stays, and is an error that says so.
func (h *Host) RemoveFoundation(ctx context.Context, foundation kernel.Foundation) ([]string, error) {
	removed, err := h.rules.Remove(ctx, foundation.Rulesets)
	errs := []error{err}
	for _, set := range foundation.Sets {
		err := errors.Join(h.ipset.Destroy(ctx, set.Name), h.ipset.Destroy(ctx, standInFor(set.Name)))
		if err == nil {
			removed = append(removed, "set "+set.Name+" removed")
		}
		errs = append(errs, err)
	}
	lines, err := h.link.RemoveDevice(ctx)
	if err := errors.Join(append(errs, err)...); err != nil {
		return append(removed, lines...), fmt.Errorf("remove the foundation: %w", err)
	}
	return append(removed, lines...), nil
}
