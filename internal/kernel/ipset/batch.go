package ipset

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// attempts is how often full sets are grown for one batch, because another writer may fill a set while it grows.
const attempts = 3

// apply is Driver.Apply.
func (c *conn) apply(ctx context.Context, operations []dataplane.Operation) []error {
	results := make([]error, len(operations))
	c.run(ctx, operations, indices(len(operations)), results)
	hopeless := map[string]bool{}
	for range attempts {
		if !c.growFull(ctx, operations, results, hopeless) {
			break
		}
	}
	return results
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// run carries out the operations at the given indices.
func (c *conn) run(ctx context.Context, operations []dataplane.Operation, todo []int, results []error) {
	requests := make([]request, 0, len(todo))
	for _, i := range todo {
		r, err := c.prepare(ctx, operations[i])
		results[i] = err
		if err == nil && r.command != 0 {
			r.index = i
			requests = append(requests, r)
		}
	}
	var e encoder
	answers := c.batch.Batch(ctx, len(requests), func(b []byte, i int) []byte {
		// Without NLM_F_EXCL an entry that exists is overwritten, and one that does not is no error when deleted.
		e.message(b, requests[i].command, 0, c.version)
		encodeEntry(&e, requests[i].entry)
		return e.b
	})
	for i, r := range requests {
		results[r.index] = c.judge(r, operations[r.index], answers[i])
	}
}

// actionOf describes an operation in an error, whose text begins with "ipset: " already.
func actionOf(operation dataplane.Operation) string {
	return strings.TrimPrefix(operation.String(), "ipset ")
}

// request is an operation that the kernel has to be asked for.
type request struct {
	index   int // of the operation
	command uint8
	entry   dataplane.Entry
}

// prepare checks an operation. Command 0 says that nothing has to be done.
func (c *conn) prepare(ctx context.Context, operation dataplane.Operation) (request, error) {
	entry, ok := operation.Object.(dataplane.Entry)
	if !ok {
		return request{}, invalid("%s: not an entry of a set", actionOf(operation))
	}
	command := cmdAdd
	switch operation.Verb {
	case dataplane.Add, dataplane.Edit:
	case dataplane.Delete:
		command = cmdDelete
	default:
		return request{}, invalid("%s: unknown verb", actionOf(operation))
	}
	t, err := c.typeOf(ctx, entry.Set)
	if command == cmdDelete && errors.Is(err, dataplane.ErrNotExist) {
		return request{}, nil
	}
	if err == nil {
		err = checkEntry(entry, t)
	}
	if err != nil {
		return request{}, fmt.Errorf("ipset: %s: %w", actionOf(operation), err)
	}
	return request{command: command, entry: entry}, nil
}

// typeOf returns the type of a set, asking the kernel the first time.
func (c *conn) typeOf(ctx context.Context, name string) (dataplane.SetType, error) {
	if t := c.types[name]; t != 0 {
		return t, nil
	}
	if err := checkName(name); err != nil {
		return 0, err
	}
	h, err := c.header(ctx, name)
	if err == nil && h.set.Type == 0 {
		err = fmt.Errorf("ipset: %w: set %s is of type %s, which is not one of the proxy's", dataplane.ErrConflict, name, h)
	}
	return h.set.Type, err
}

// judge turns the kernel's answer into the operation's result.
func (c *conn) judge(r request, operation dataplane.Operation, answer error) error {
	if answer == nil || r.command == cmdDelete && nlbatch.RefusedWith(answer) == unix.ENOENT {
		return nil
	}
	err := failure(answer, !r.entry.Addr.IsValid(), actionOf(operation))
	if !errors.Is(err, dataplane.ErrSetFull) && !errors.Is(err, dataplane.ErrPermission) {
		delete(c.types, r.entry.Set) // perhaps it is another set by now
	}
	return err
}

// growFull grows each set for which an operation failed with ErrSetFull, and does again what had to do with that set from
// there on: an entry that could not be added may have been deleted later in the same batch. It reports whether any set grew.
func (c *conn) growFull(ctx context.Context, operations []dataplane.Operation, results []error, hopeless map[string]bool) bool {
	redo := map[string][]int{}
	var names []string
	for i, operation := range operations {
		entry, ok := operation.Object.(dataplane.Entry)
		if !ok || hopeless[entry.Set] {
			continue
		}
		_, known := redo[entry.Set]
		if !known && errors.Is(results[i], dataplane.ErrSetFull) {
			names = append(names, entry.Set)
			known = true
		}
		if known {
			redo[entry.Set] = append(redo[entry.Set], i)
		}
	}
	grown := false
	for _, name := range names {
		if err := c.growBy(ctx, name, len(redo[name])); err != nil {
			hopeless[name] = true
			for _, i := range redo[name] {
				if errors.Is(results[i], dataplane.ErrSetFull) {
					results[i] = errors.Join(results[i], err)
				}
			}
			continue
		}
		grown = true
		c.run(ctx, operations, redo[name], results)
	}
	return grown
}

// growBy doubles a set's capacity until it has room for so many more entries.
func (c *conn) growBy(ctx context.Context, name string, more int) error {
	have, err := c.header(ctx, name)
	if err != nil {
		return err
	}
	wanted, limit := have.set, uint64(max(have.set.MaxElem, 1))*2
	for limit < uint64(have.elements)+uint64(more) {
		limit *= 2
	}
	if limit > maxElements && have.set.MaxElem < maxElements {
		limit = maxElements
	}
	if limit > maxElements {
		return fmt.Errorf("ipset: set %s holds %d entries, the most it is grown to: %w", name, have.set.MaxElem, dataplane.ErrSetFull)
	}
	wanted.MaxElem = uint32(limit)
	return c.grow(ctx, wanted)
}
