package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

const (
	rounds     = 6    // of one addition between NEW and SET because somebody else deletes and adds the object
	segmentMax = 4096 // operations; about three sends
)

// request is one message of a batch: what to do with the object of one operation.
type request struct {
	index   int // of the operation
	command uint8
	object  dataplane.Object
}

// full reports whether the request carries the object's whole state and not its identity alone.
func (r request) full() bool { return r.command != delService && r.command != delDest }

// commandsOf returns the commands that create, change and delete an object.
func commandsOf(object dataplane.Object) (create, change, remove uint8) {
	if _, ok := object.(dataplane.Member); ok {
		return newDest, setDest, delDest
	}
	return newService, setService, delService
}

// firstRequest returns the message that an operation begins with. Additions begin as if nothing were there.
func firstRequest(index int, op dataplane.Operation) (request, error) {
	if err := validate(op.Object); err != nil {
		return request{}, err
	}
	create, change, remove := commandsOf(op.Object)
	switch op.Verb {
	case dataplane.Add:
		return request{index, create, op.Object}, nil
	case dataplane.Edit:
		return request{index, change, op.Object}, nil
	case dataplane.Delete:
		return request{index, remove, op.Object}, nil
	}
	return request{}, fmt.Errorf("%w: there is no %s", dataplane.ErrInvalid, op.Verb)
}

// settle reads the kernel's answer to a request of an operation: it returns the operation's result, or with again the
// command to try next. An addition of what exists becomes a change; a change of what has vanished meanwhile becomes an
// addition again.
func settle(op dataplane.Operation, command uint8, answer error) (next uint8, again bool, result error) {
	if answer == nil {
		return 0, false, nil
	}
	create, change, remove := commandsOf(op.Object)
	absent := unix.ESRCH // the virtual server is not there
	if create == newDest {
		absent = unix.ENOENT // the real server is not there
	}
	errno := nlbatch.RefusedWith(answer)
	switch {
	case command == remove && (errno == unix.ESRCH || errno == unix.ENOENT || errors.Is(answer, dataplane.ErrUnavailable)):
		return 0, false, nil // where there is no IPVS, there is no object either
	case op.Verb == dataplane.Add && command == create && errno == unix.EEXIST:
		return change, true, answer
	case op.Verb == dataplane.Add && command == change && errno == absent:
		return create, true, answer
	}
	return 0, false, answer
}

// apply carries out the operations in order.
func (c *conn) apply(ctx context.Context, ops []dataplane.Operation) []error {
	results := make([]error, len(ops))
	cut := newSegments(len(ops))
	for start := 0; start < len(ops); {
		end := start + cut.next(ops[start:])
		c.applySegment(ctx, ops[start:end], results[start:end])
		start = end
	}
	for i, err := range results {
		if err != nil {
			results[i] = operationError(ops[i], err)
		}
	}
	return results
}

// identity names a virtual server, or with addr a real server of it.
type identity struct {
	key  dataplane.VirtualServerKey
	addr netip.AddrPort
}

func identityOf(object dataplane.Object) identity {
	switch x := object.(type) {
	case dataplane.VirtualServer:
		return identity{key: x.Key}
	case dataplane.Member:
		return identity{x.VirtualServer, x.Addr}
	}
	return identity{}
}

// segments cuts batches into segments: operations that can go to the kernel together. An addition may need a second
// message, sent after all the others of its segment, so nothing that must come after the addition may be in the same
// one: no other operation on the same object, and no deletion of its virtual server.
type segments struct {
	added map[identity]struct{}                   // in the segment at hand
	pools map[dataplane.VirtualServerKey]struct{} // that something in it is added to
}

func newSegments(operations int) *segments {
	size := min(operations, segmentMax)
	return &segments{make(map[identity]struct{}, size), make(map[dataplane.VirtualServerKey]struct{}, size/4)}
}

// next returns how many operations the next segment has.
func (s *segments) next(ops []dataplane.Operation) int {
	clear(s.added)
	clear(s.pools)
	for i, op := range ops[:min(len(ops), segmentMax)] {
		id := identityOf(op.Object)
		if s.conflicts(op.Verb, id) {
			return i
		}
		if op.Verb == dataplane.Add {
			s.added[id] = struct{}{}
			s.pools[id.key] = struct{}{}
		}
	}
	return min(len(ops), segmentMax)
}

func (s *segments) conflicts(verb dataplane.Verb, id identity) bool {
	_, conflict := s.added[id]
	if verb == dataplane.Delete && id.addr == (netip.AddrPort{}) {
		_, inUse := s.pools[id.key]
		conflict = conflict || inUse
	}
	return conflict
}

// applySegment sends every operation's first message, then the second messages of those that need one.
func (c *conn) applySegment(ctx context.Context, ops []dataplane.Operation, results []error) {
	requests := make([]request, 0, len(ops))
	for i, op := range ops {
		r, err := firstRequest(i, op)
		if err != nil {
			results[i] = err
			continue
		}
		requests = append(requests, r)
	}
	for round := 0; len(requests) > 0 && round < rounds; round++ {
		var later []request
		for i, answer := range c.submit(ctx, requests) {
			r := requests[i]
			next, again, result := settle(ops[r.index], r.command, answer)
			results[r.index] = result
			if again {
				later = append(later, request{r.index, next, r.object})
			}
		}
		requests = later
	}
	for _, r := range requests {
		results[r.index] = fmt.Errorf("%w: it keeps coming and going (%w)", dataplane.ErrConflict, results[r.index])
	}
}

// submit sends the requests and returns the kernel's answer to each. If the module was loaded anew since the family was
// resolved, all of them were refused with ENOENT, and are sent once more.
func (c *conn) submit(ctx context.Context, requests []request) []error {
	if err := c.ready(ctx); err != nil {
		return fill(make([]error, len(requests)), err, func(error) bool { return true })
	}
	answers := c.send(ctx, requests)
	stale := func(answer error) bool { return nlbatch.RefusedWith(answer) == unix.ENOENT }
	if !slices.ContainsFunc(answers, stale) {
		return answers
	}
	changed, err := c.resolve(ctx)
	switch {
	case err != nil:
		return fill(answers, err, stale)
	case changed:
		return c.send(ctx, requests)
	}
	return answers
}

func (c *conn) send(ctx context.Context, requests []request) []error {
	return c.batch.Batch(ctx, len(requests), func(b []byte, i int) []byte {
		r := requests[i]
		return appendBody(begin(b, c.family, r.command, 0), r.object, r.full())
	})
}

// fill puts an error in the place of those that are to be replaced.
func fill(answers []error, err error, replace func(error) bool) []error {
	for i, answer := range answers {
		if replace(answer) {
			answers[i] = err
		}
	}
	return answers
}
