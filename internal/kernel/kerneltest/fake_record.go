package kerneltest

import (
	"fmt"
	"maps"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
)

// Counts says how often a Fake was asked for what.
type Counts struct {
	Foundations   int // EnsureFoundation
	Snapshots     int
	Connections   int
	NodeAddresses int
	Batches       int // Apply
	// Operations counts the operations inside the batches by verb and kind of object.
	Operations map[OperationKind]int
}

// OperationKind is the verb of an operation and the kind of its object.
type OperationKind struct {
	Verb dataplane.Verb
	Kind string // "virtual server", "real server", "address", "entry" or "flows"
}

// KindOf returns the kind of an operation, as Counts tells them apart.
func KindOf(op dataplane.Operation) OperationKind {
	kind := fmt.Sprintf("%T", op.Object)
	switch op.Object.(type) {
	case dataplane.VirtualServer:
		kind = "virtual server"
	case dataplane.Member:
		kind = "real server"
	case dataplane.Address:
		kind = "address"
	case dataplane.Entry:
		kind = "entry"
	case dataplane.Flows:
		kind = "flows"
	}
	return OperationKind{op.Verb, kind}
}

// recorder keeps what a Fake was asked.
type recorder struct {
	counts Counts
	log    []string
	flows  []dataplane.Flows
}

func (r *recorder) operation(op dataplane.Operation, err error) {
	if r.counts.Operations == nil {
		r.counts.Operations = map[OperationKind]int{}
	}
	r.counts.Operations[KindOf(op)]++
	line := op.String()
	if err != nil {
		line += ": " + err.Error()
	}
	r.log = append(r.log, line)
}

// Counts returns how often the kernel was asked for what since it was made or ResetRecord was called.
func (f *Fake) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := f.record.counts
	counts.Operations = maps.Clone(counts.Operations)
	return counts
}

// Log returns the operations in the order in which they were tried, as the commands an operator would type; one that
// failed is followed by ": " and the error.
func (f *Fake) Log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.record.log)
}

// DeletedFlows returns the flows whose conntrack entries were deleted, in order.
func (f *Fake) DeletedFlows() []dataplane.Flows {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.record.flows)
}

// ResetRecord forgets counts, log and deleted flows.
func (f *Fake) ResetRecord() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record = recorder{}
}

// Dump returns everything in the kernel as dataplane.Objects.Dump prints it.
func (f *Fake) Dump() string { return f.Objects().Dump() }

// Objects returns everything in the kernel, uncounted. It works while parts of the foundation are missing.
func (f *Fake) Objects() dataplane.Objects {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects()
}
