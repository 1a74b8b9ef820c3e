package nlbatch

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// shrinkBy is how much smaller a send is tried again after answers were lost.
const shrinkBy = 4

// Batch sends n requests in order, as many in one send as it can take, and returns the kernel's answer to each: nil or a
// *Refusal. A refused request does not keep those after it from being carried out. encode appends the request number i,
// beginning with Begin; it may be asked for the same one again. All of them have to be idempotent: after a loss, requests
// that the kernel has carried out are sent again, in order.
//
// Other errors are about the way to the kernel and back. Those that wrap dataplane.ErrUnknown concern requests that the
// kernel may have carried out, the others say that it has not. Between two sends the context is looked at; when it has
// ended, the rest fails with its error.
func (c *Conn) Batch(ctx context.Context, n int, encode func(b []byte, i int) []byte) []error {
	answers := make([]error, n)
	sent := 0              // requests before this one have been sent, with or without an answer
	failures, most := 0, n // most requests in a send; pack knows the limits of the socket
	for start := 0; start < n; {
		err := ctx.Err()
		if err == nil {
			err = c.Connect()
		}
		if err != nil {
			giveUp(answers[start:], sent-start, err)
			break
		}
		end := start + c.pack(start, min(most, n-start), encode)
		reached, err := c.collect(answers[start:end])
		if reached {
			sent = max(sent, end)
		}
		switch {
		case err == nil:
			start, failures, most = end, 0, (end-start)*shrinkBy
		case failures < tries:
			failures, most = failures+1, max(1, (end-start)/shrinkBy)
		default:
			giveUp(answers[start:end], sent-start, err)
			start, failures = end, tries-1 // the rest is not tried as often, until something succeeds
		}
	}
	return answers
}

// giveUp fills in the error for requests of which the first so many have been sent.
func giveUp(answers []error, sent int, err error) {
	unknown := fmt.Errorf("%w: %w", dataplane.ErrUnknown, err)
	for i := range answers {
		answers[i] = err
		if i < sent {
			answers[i] = unknown
		}
	}
}

// pack encodes as many requests as one send takes, from the first on and at most the given number, and returns how many.
// The last asks for an acknowledgement: the kernel answers in order, so that one says that all have been worked off.
func (c *Conn) pack(first, most int, encode func([]byte, int) []byte) (count int) {
	c.out = c.out[:0]
	last := 0
	for count < min(most, c.limits.Messages) {
		start := len(c.out)
		c.out = complete(encode(c.out, first+count), start, c.seq+1+uint32(count))
		if len(c.out) > c.limits.Bytes && count > 0 {
			c.out = c.out[:start]
			break
		}
		last = start
		count++
	}
	setFlags(c.out[last:], flagsOf(c.out[last:])|unix.NLM_F_ACK)
	return count
}

// collect sends what pack has encoded and reads an answer for each request; no answer but to the last means success.
func (c *Conn) collect(answers []error) (sent bool, err error) {
	clear(answers)
	first, last := c.seq+1, uint32(len(answers)-1)
	c.seq += uint32(len(answers))
	sent, err = c.roundTrip(func(m Message) (done bool, err error) {
		i := m.Seq - first // wraps around for an older answer
		if m.Type != unix.NLMSG_ERROR || i > last {
			return false, nil
		}
		answers[i], err = m.status()
		return i == last && err == nil, err
	})
	if err != nil {
		c.mend()
	}
	if err == errNoAnswer && RefusedWith(answers[0]) == unix.EPERM {
		// nfnetlink says once for a whole send that it takes nothing from this process.
		for i := range answers {
			answers[i] = answers[0]
		}
		err = nil
	}
	return sent, err
}
