package nlbatch

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Exchange sends one request, once, and hands the messages that answer it to visit, up to the acknowledgement, which it
// asks for, or the end of the dump. A refusal is a *Refusal; what visit returns comes back as it is. Any other error
// leaves open whether the kernel has carried the request out.
func (c *Conn) Exchange(encode func([]byte) []byte, visit func(Message) error) error {
	_, err := c.exchange(encode, visit)
	return err
}

// exchange is Exchange. A final error would be the same at another try.
func (c *Conn) exchange(encode func([]byte) []byte, visit func(Message) error) (final bool, err error) {
	if err := c.Connect(); err != nil {
		return true, err
	}
	c.seq++
	c.out = marshal(c.out[:0], c.seq, encode)
	var refused, stopped error
	interrupted := false
	_, err = c.roundTrip(func(m Message) (done bool, err error) {
		if m.Seq != c.seq {
			return false, nil // an answer to something that was given up
		}
		interrupted = interrupted || m.Flags&unix.NLM_F_DUMP_INTR != 0
		if m.ends() {
			refused, err = m.status()
			return err == nil, err
		}
		if m.Type >= unix.NLMSG_MIN_TYPE {
			stopped = visit(m)
		}
		return false, stopped
	})
	switch {
	case refused != nil:
		return RefusedWith(refused) != unix.EINTR, refused
	case err != nil:
		_ = c.drop() // what is left of a dump, and of one that the kernel has stuck in, goes with the socket
		return stopped != nil, err
	case interrupted:
		return false, ErrInterrupted
	}
	return true, nil
}

// Read sends one request like Exchange, and again when the answer is lost or the table changed under a dump. The visitor
// that begin returns sees the messages of one try; what it collected in an earlier one is void.
func (c *Conn) Read(ctx context.Context, encode func([]byte) []byte, begin func() func(Message) error) error {
	var err error
	for range tries {
		if err := ctx.Err(); err != nil {
			return err
		}
		var final bool
		if final, err = c.exchange(encode, begin()); final {
			return err
		}
	}
	return fmt.Errorf("after %d tries: %w", tries, err)
}

// Query is Read for answers of one kind: it returns all of them decoded, or an error. Errors of decode should wrap
// ErrMalformed; ErrSkip leaves a message out.
func Query[T any](ctx context.Context, c *Conn, encode func([]byte) []byte, decode func(Message) (T, error)) (answers []T, err error) {
	err = c.Read(ctx, encode, func() func(Message) error {
		answers = nil
		return func(m Message) error {
			answer, err := decode(m)
			switch {
			case err == nil:
				answers = append(answers, answer)
			case errors.Is(err, ErrSkip):
				return nil
			}
			return err
		}
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// ErrSkip is what a decode function of Query returns for a message that is of no interest.
var ErrSkip = errors.New("of no interest")
