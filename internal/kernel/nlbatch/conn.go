package nlbatch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	tries     = 8       // of a send or a dump that keeps going wrong on the way
	leftovers = 1 << 16 // datagrams that mend throws away before it gives the socket up
)

var (
	// ErrLost: the kernel's answers did not fit into the receive buffer, or did not come.
	ErrLost = errors.New("answers of the kernel were lost")
	// ErrInterrupted: a table kept changing while it was read, so that what was read may lack something.
	ErrInterrupted = errors.New("the table changed while it was read")
)

// errNoAnswer is the ErrLost of a kernel that did not even notice a loss.
var errNoAnswer = fmt.Errorf("%w: none came", ErrLost)

// Conn carries requests to the kernel and its answers back, for one goroutine at a time. It mends itself: after an error
// nothing of the failed exchange is left in the socket, or the next exchange opens another.
type Conn struct {
	dial   Dial
	wire   Wire // nil: to be dialled
	limits Limits
	seq    uint32
	out    []byte
	in     []byte
	closed bool
}

// New returns a Conn that opens its sockets with dial, the first when it is needed.
func New(dial Dial) *Conn { return &Conn{dial: dial, in: make([]byte, datagramBytes)} }

// Connect makes sure that there is a socket. After Close it fails with os.ErrClosed.
func (c *Conn) Connect() error {
	if c.closed {
		return fmt.Errorf("netlink socket: %w", os.ErrClosed)
	}
	if c.wire != nil {
		return nil
	}
	w, limits, err := c.dial()
	if err != nil {
		return err
	}
	c.wire, c.limits = w, limits
	return nil
}

// Wire returns the present socket, nil when there is none, and the limits of its sends.
func (c *Conn) Wire() (Wire, Limits) { return c.wire, c.limits }

// Close closes the socket for good. Closing twice is fine.
func (c *Conn) Close() error {
	c.closed = true
	return c.drop()
}

// drop closes the present socket.
func (c *Conn) drop() error {
	if c.wire == nil {
		return nil
	}
	err := c.wire.Close()
	c.wire = nil
	if err != nil {
		return fmt.Errorf("close a netlink socket: %w", err)
	}
	return nil
}

// roundTrip sends what is in c.out and hands every message that comes back to visit, until visit is done or fails. Unless
// it was sent, the kernel has done nothing. After an error of something sent, the socket needs mending.
func (c *Conn) roundTrip(visit func(Message) (done bool, err error)) (sent bool, err error) {
	if err := c.wire.Send(c.out); err != nil {
		_ = c.drop() // it may be no socket of ours any more
		return false, fmt.Errorf("send to the kernel: %w", err)
	}
	for done := false; !done && err == nil; {
		var n int
		n, err = c.wire.Receive(c.in)
		switch {
		case err == unix.EAGAIN:
			err = errNoAnswer
		case err == unix.ENOBUFS:
			err = fmt.Errorf("%w (%w)", ErrLost, err)
		case err == nil && n == 0:
			err = fmt.Errorf("%w: an empty datagram", ErrMalformed)
		}
		for rest := c.in[:n]; err == nil && !done && len(rest) > 0; {
			var m Message
			if m, rest, err = Next(rest); err == nil {
				done, err = visit(m)
			}
		}
	}
	return true, err
}

// mend empties the socket, which also ends an overrun. A socket that does not become empty is closed.
func (c *Conn) mend() {
	if c.wire == nil {
		return
	}
	for range leftovers {
		_, err := c.wire.Receive(c.in)
		if err == unix.EAGAIN {
			return
		}
		if err != nil && err != unix.ENOBUFS && !errors.Is(err, ErrMalformed) {
			break
		}
	}
	_ = c.drop()
}
