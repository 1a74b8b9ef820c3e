package host

import (
	"context"
	"fmt"

	"kube-ipvs-proxy/internal/dataplane"
)

// subsystem is a part of the kernel that carries out operations.
type subsystem uint8

const (
	nobody subsystem = iota // the operation is invalid
	ofIPVS
	ofLink
	ofIPSet
	ofConntrack
)

// subsystemOf says who carries out an operation.
func subsystemOf(op dataplane.Operation) subsystem {
	by := nobody
	switch op.Object.(type) {
	case dataplane.VirtualServer, dataplane.Member:
		return ofIPVS // which knows all verbs, and refuses others
	case dataplane.Address:
		by = ofLink
	case dataplane.Entry:
		by = ofIPSet
	case dataplane.Flows:
		by = ofConntrack
	}
	if op.Verb == dataplane.Delete || op.Verb == dataplane.Add && by != ofConntrack {
		return by
	}
	return nobody
}

// Apply implements kernel.Kernel. Neighbouring operations of one subsystem travel together; the order between subsystems is
// kept, because it is what keeps traffic flowing.
func (h *Host) Apply(ctx context.Context, ops []dataplane.Operation) []error {
	results := make([]error, 0, len(ops))
	for start := 0; start < len(ops); {
		by, end := subsystemOf(ops[start]), start+1
		for end < len(ops) && subsystemOf(ops[end]) == by {
			end++
		}
		results = append(results, h.run(ctx, by, ops[start:end])...)
		start = end
	}
	return results
}

// run has one subsystem carry out operations that are all its own.
func (h *Host) run(ctx context.Context, by subsystem, ops []dataplane.Operation) []error {
	if err := ctx.Err(); err != nil {
		return each(ops, err)
	}
	switch by {
	case ofIPVS:
		return h.ipvs.Apply(ctx, ops)
	case ofLink:
		return h.link.Apply(ctx, ops)
	case ofIPSet:
		return h.ipset.Apply(ctx, ops)
	case ofConntrack:
		stale := make([]dataplane.Flows, len(ops))
		for i, op := range ops {
			stale[i], _ = op.Object.(dataplane.Flows) // subsystemOf saw to it
		}
		return h.conntrack.Delete(ctx, stale)
	}
	return each(ops, fmt.Errorf("no subsystem does that: %w", dataplane.ErrInvalid))
}

// each gives every operation the same error.
func each(ops []dataplane.Operation, err error) []error {
	results := make([]error, len(ops))
	for i, op := range ops {
		results[i] = fmt.Errorf("%s: %w", op, err)
	}
	return results
}
