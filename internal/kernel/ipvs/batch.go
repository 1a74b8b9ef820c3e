package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
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
	errno := refusedWith(answer)
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
	answers := c.send(ctx, requests)
	stale := false
	for _, answer := range answers {
		stale = stale || refusedWith(answer) == unix.ENOENT
	}
	if !stale {
		return answers
	}
	changed, err := c.resolve()
	switch {
	case err != nil:
		for i, answer := range answers {
			if refusedWith(answer) == unix.ENOENT {
				answers[i] = err
			}
		}
	case changed:
		return c.send(ctx, requests)
	}
	return answers
}

// send packs the requests into as few sends as possible.
func (c *conn) send(ctx context.Context, requests []request) []error {
	answers := make([]error, len(requests))
	failures, most := 0, len(requests) // pack knows the limits of the socket
	for start := 0; start < len(requests); {
		err := ctx.Err()
		if err == nil {
			err = c.ready()
		}
		if err != nil {
			fill(answers[start:], err)
			break
		}
		end := start + c.pack(requests[start:], most)
		err = c.collect(answers[start:end])
		switch {
		case err == nil:
			start, failures, most = end, 0, (end-start)*shrinkBy
		case failures < tries && !errors.Is(err, errMalformed):
			// What was carried out is unknown, and doing it again is safe.
			failures, most = failures+1, max(1, (end-start)/shrinkBy)
		default:
			fill(answers[start:end], err)
			start, failures = end, 0
		}
	}
	return answers
}

func fill(answers []error, err error) {
	for i := range answers {
		answers[i] = err
	}
}

// pack encodes as many requests as one send takes, at most the given number, and returns how many. The last asks for an
// acknowledgement: the kernel answers in order, so that one says that all have been worked off.
func (c *conn) pack(requests []request, most int) int {
	most = min(most, len(requests), c.limits.messages)
	c.out = c.out[:0]
	last, count := 0, 0
	for count < most && (count == 0 || len(c.out)+messageRoom <= c.limits.bytes) {
		r := requests[count]
		last = len(c.out)
		c.out = beginMessage(c.out, header{c.family, unix.NLM_F_REQUEST, c.seq + 1 + uint32(count)}, r.command)
		c.out = endMessage(appendBody(c.out, r.object, r.full()), last)
		count++
	}
	setFlags(c.out[last:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	return count
}

// collect sends what pack has encoded and reads an answer for each message; no answer but to the last means success.
func (c *conn) collect(answers []error) error {
	fill(answers, nil)
	first := c.seq + 1
	c.seq += uint32(len(answers))
	return c.roundTrip(func(h header, payload []byte) (bool, error) {
		i := h.seq - first
		if h.kind != unix.NLMSG_ERROR || i >= uint32(len(answers)) {
			return false, nil
		}
		answer := statusOf(h.kind, payload)
		if errors.Is(answer, errMalformed) {
			return false, answer
		}
		answers[i] = answer
		return i == uint32(len(answers)-1), nil
	})
}
