package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
)

// Spared implements kernel.Kernel.
func (h *Host) Spared() bool { return h.spared }

// install makes rules exist, and does what is asked for with those of others in their place.
func (h *Host) install(ctx context.Context, rulesets []dataplane.Ruleset, takeover kernel.Takeover) (repaired []string, err error) {
	switch takeover {
	case kernel.Spare:
		repaired, h.spared, err = h.rules.EnsureSparing(ctx, rulesets)
		for _, rules := range rulesets {
			present, failed := h.nftables.Present(ctx, rules.Family)
			h.spared = h.spared || present || failed != nil // which will show when it is to be removed
		}
		return repaired, err
	case kernel.Succeed:
		return h.succeed(ctx, rulesets)
	}
	return h.rules.Ensure(ctx, rulesets)
}

// succeed puts rules into the place of those of others. What the mode nftables has goes last: for as long as connections lack
// ours, they need that.
func (h *Host) succeed(ctx context.Context, rulesets []dataplane.Ruleset) (repaired []string, err error) {
	repaired, err = h.rules.Succeed(ctx, rulesets)
	if err != nil {
		return repaired, err
	}
	for _, rules := range rulesets {
		present, failed := h.nftables.Present(ctx, rules.Family)
		if present && failed == nil {
			failed = h.nftables.Remove(ctx, rules.Family)
		}
		if present && failed == nil {
			repaired = append(repaired, fmt.Sprintf("%v: table of kube-proxy's mode nftables removed", rules.Family))
		}
		err = errors.Join(err, failed)
	}
	return repaired, err
}

// RemoveBeside takes away rules and sets that stand beside those of another proxy, and returns a line for each. A set that
// rules still refer to stays, and is an error that says so.
func (h *Host) RemoveBeside(ctx context.Context, parts kernel.Foundation) (removed []string, err error) {
	removed, err = h.rules.Remove(ctx, parts.Rulesets)
	errs := []error{err}
	for _, set := range parts.Sets {
		_, missing := h.ipset.Entries(ctx, []string{set.Name})
		err := errors.Join(h.ipset.Destroy(ctx, set.Name), h.ipset.Destroy(ctx, standInFor(set.Name)))
		if err == nil && !errors.Is(missing, dataplane.ErrNotExist) {
			removed = append(removed, "set "+set.Name+" removed")
		}
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

// Marked returns the virtual servers with a packet mark.
func (h *Host) Marked(ctx context.Context) ([]dataplane.Pool, error) {
	pools, _, err := h.ipvs.Pools(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the virtual servers: %w", err)
	}
	return slices.DeleteFunc(pools, func(p dataplane.Pool) bool { return p.Key.Mark == 0 }), nil
}
