package ipset

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// batchSize is how many requests one send carries: enough to make the cost of the call small, and few enough that their
// answers fit into the socket's receive buffer even where it could not be enlarged.
const batchSize = 128

// apply is Driver.Apply.
func (c *conn) apply(ctx context.Context, operations []dataplane.Operation) []error {
	results := make([]error, len(operations))
	c.run(ctx, operations, indices(len(operations)), results)
	hopeless := map[string]bool{}
	for range attempts { // another writer may fill a set while it grows
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
	for len(todo) > 0 {
		n := min(len(todo), batchSize)
		c.runBatch(ctx, operations, todo[:n], results)
		todo = todo[n:]
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
	done    bool // it has its result
}

func (c *conn) runBatch(ctx context.Context, operations []dataplane.Operation, todo []int, results []error) {
	requests := make([]request, 0, len(todo))
	for _, i := range todo {
		r, err := c.prepare(ctx, operations[i])
		results[i] = err
		if err == nil && r.command != 0 {
			r.index = i
			requests = append(requests, r)
		}
	}
	err := c.try(ctx, func() error { return c.exchangeBatch(requests, results) })
	for _, r := range requests {
		if !r.done {
			results[r.index] = forAction(err, actionOf(operations[r.index]))
		}
	}
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

// exchangeBatch sends the requests that are not done yet and waits for an answer to each.
func (c *conn) exchangeBatch(requests []request, results []error) error {
	var sent []*request
	first := c.socket.seq + 1
	c.encoder.b = c.encoder.b[:0]
	for i := range requests {
		r := &requests[i]
		if r.done {
			continue
		}
		// Without NLM_F_EXCL an entry that exists is overwritten, and one that does not is no error when deleted.
		c.encoder.message(r.command, unix.NLM_F_REQUEST|unix.NLM_F_ACK, c.socket.nextSeq(), func(e *encoder) {
			e.uint8(attrProtocol, c.version)
			encodeEntry(e, r.entry)
		})
		sent = append(sent, r)
	}
	if len(sent) == 0 {
		return nil
	}
	if err := c.socket.send(c.encoder.b); err != nil {
		return err
	}
	return c.collect(sent, first, results)
}

// collect reads answers until every request has one. The first request has the sequence number first.
func (c *conn) collect(sent []*request, first uint32, results []error) error {
	for open := len(sent); open > 0; {
		datagram, err := c.socket.receive()
		if err != nil {
			return err
		}
		err = eachReply(datagram, func(answer reply) error {
			at := answer.seq - first
			if answer.kind != unix.NLMSG_ERROR || at >= uint32(len(sent)) || sent[at].done {
				return nil // belongs to a request that was given up
			}
			code, err := answer.code()
			if err != nil {
				return &lostError{err}
			}
			r := sent[at]
			r.done = true
			open--
			results[r.index] = c.judge(*r, code)
			if code == int(unix.EPERM) { // a missing capability is reported once for everything that was sent
				return results[r.index]
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// judge turns the kernel's answer into the operation's result.
func (c *conn) judge(r request, code int) error {
	if r.command == cmdDelete && code == int(unix.ENOENT) {
		code = 0
	}
	if code == 0 {
		return nil
	}
	verb := dataplane.Add
	if r.command == cmdDelete {
		verb = dataplane.Delete
	}
	err := refusal(code, !r.entry.Addr.IsValid(), actionOf(dataplane.Operation{Verb: verb, Object: r.entry}))
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
