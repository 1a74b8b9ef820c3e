package ipvs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

const (
	tries       = 8       // of a send or a dump that keeps going wrong on the way
	shrinkBy    = 4       // how much smaller a send is tried again after answers were lost
	messageRoom = 256     // no request is longer
	leftovers   = 1 << 16 // datagrams that mend throws away before it gives the socket up
)

var (
	errLost        = errors.New("answers of the kernel were lost")
	errInterrupted = errors.New("the table changed while it was read")
	errClosed      = errors.New("the IPVS driver is closed")
)

// conn carries requests to the kernel and its answers back. It mends itself: after an error nothing of the failed
// exchange is left in the socket, or the socket is replaced.
type conn struct {
	dial   func() (wire, limits, error)
	wire   wire // nil: to be dialled
	limits limits
	family uint16
	seq    uint32
	out    []byte
	in     []byte
	closed bool
}

func newConn(dial func() (wire, limits, error)) *conn {
	return &conn{dial: dial, in: make([]byte, datagramBytes)}
}

// connect makes sure that there is a socket.
func (c *conn) connect() error {
	if c.closed {
		return errClosed
	}
	if c.wire != nil {
		return nil
	}
	w, lim, err := c.dial()
	if err != nil {
		return err
	}
	c.wire, c.limits = w, lim
	return nil
}

// ready makes sure that there is a socket and that the family is known.
func (c *conn) ready() error {
	if err := c.connect(); err != nil || c.family != 0 {
		return err
	}
	_, err := c.resolve()
	return err
}

// resolve asks for the number of the IPVS family, which changes when the module is loaded anew, and reports whether it
// differs from the one known.
func (c *conn) resolve() (changed bool, err error) {
	before := c.family
	c.family = unix.GENL_ID_CTRL
	ids, err := exchange(c, unix.CTRL_CMD_GETFAMILY, unix.NLM_F_ACK, func(b []byte) []byte {
		return appendBytes(b, unix.CTRL_ATTR_FAMILY_NAME, append([]byte(familyName), 0))
	}, decodeFamily)
	c.family = 0
	switch {
	case refusedWith(err) == unix.ENOENT: // the errno without the refusal: it is not about what was asked of IPVS
		return false, fmt.Errorf("IPVS is %w: load the module ip_vs: modprobe ip_vs (%w)", dataplane.ErrUnavailable, unix.ENOENT)
	case err != nil:
		return false, fmt.Errorf("ask for the netlink family of IPVS: %w", err)
	case len(ids) != 1:
		return false, fmt.Errorf("ask for the netlink family of IPVS: %w: %d answers", errMalformed, len(ids))
	}
	c.family = ids[0]
	return c.family != before, nil
}

func decodeFamily(body []byte) (uint16, error) {
	data, _, err := findAttribute(body, unix.CTRL_ATTR_FAMILY_ID)
	if err != nil {
		return 0, err
	}
	return uint16Of(unix.CTRL_ATTR_FAMILY_ID, data)
}

// query sends one request and decodes the answers, all or none. With unix.NLM_F_DUMP among the flags it reads a table,
// with unix.NLM_F_ACK a single thing. What is interrupted or lost is asked for again.
func query[T any](ctx context.Context, c *conn, command uint8, flags uint16, fill func([]byte) []byte,
	decode func([]byte) (T, error)) (answers []T, err error) {
	for range tries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := c.ready(); err != nil {
			return nil, err
		}
		answers, err = exchange(c, command, flags, fill, decode)
		errno := refusedWith(err)
		switch {
		case err == nil:
			return answers, nil
		case errno == unix.ENOENT: // no read answers so, but an unloaded family does
			changed, resolveErr := c.resolve()
			if resolveErr != nil {
				return nil, resolveErr
			}
			if !changed {
				return nil, requestError(err)
			}
		case errno != 0 && errno != unix.EINTR, errors.Is(err, errMalformed):
			return nil, requestError(err)
		}
	}
	return nil, fmt.Errorf("after %d tries: %w", tries, err)
}

// exchange is one try of query.
func exchange[T any](c *conn, command uint8, flags uint16, fill func([]byte) []byte,
	decode func([]byte) (T, error)) (answers []T, err error) {
	c.seq++
	c.out = beginMessage(c.out[:0], header{c.family, unix.NLM_F_REQUEST | flags, c.seq}, command)
	if fill != nil {
		c.out = fill(c.out)
	}
	c.out = endMessage(c.out, 0)
	interrupted := false
	err = c.roundTrip(func(h header, payload []byte) (bool, error) {
		if h.seq != c.seq {
			return false, nil
		}
		interrupted = interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
		switch h.kind {
		case unix.NLMSG_ERROR, unix.NLMSG_DONE:
			return true, statusOf(h.kind, payload)
		case c.family:
			body, err := genericBody(payload)
			if err != nil {
				return false, err
			}
			answer, err := decode(body)
			answers = append(answers, answer)
			return false, err
		}
		return false, nil
	})
	if err == nil && interrupted {
		err = errInterrupted
	}
	return answers, err
}

// statusOf reads the errno that ends an exchange. A DONE without one means success.
func statusOf(kind uint16, payload []byte) error {
	if len(payload) < 4 {
		if kind == unix.NLMSG_DONE {
			return nil
		}
		return fmt.Errorf("%w: an error message of %d bytes", errMalformed, len(payload))
	}
	if errno := -int32(binary.NativeEndian.Uint32(payload)); errno > 0 {
		return refusal(errno)
	}
	return nil
}

// roundTrip sends what is in c.out and hands every message that comes back to visit, until visit is done or fails.
func (c *conn) roundTrip(visit func(header, []byte) (done bool, err error)) error {
	if err := c.connect(); err != nil {
		return err
	}
	if err := c.wire.Send(c.out); err != nil {
		c.mend()
		return fmt.Errorf("send to the kernel: %w", err)
	}
	done := false
	for !done {
		n, err := c.wire.Receive(c.in)
		if err == unix.EAGAIN || err == unix.ENOBUFS {
			err = errLost
		}
		for rest := c.in[:n]; err == nil && len(rest) > 0; {
			var h header
			var payload []byte
			if h, payload, rest, err = nextMessage(rest); err == nil && !done {
				done, err = visit(h, payload)
			}
		}
		if err != nil && !done {
			c.mend()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mend empties the socket, which also ends a dump that is under way and an overrun. A socket that does not become empty
// is closed, and the next exchange opens another.
func (c *conn) mend() {
	for range leftovers {
		_, err := c.wire.Receive(c.in)
		if err == unix.EAGAIN {
			return
		}
		if err != nil && err != unix.ENOBUFS {
			break
		}
	}
	_ = c.wire.Close()
	c.wire = nil
}

func (c *conn) close() error {
	c.closed = true
	if c.wire == nil {
		return nil
	}
	err := c.wire.Close()
	c.wire = nil
	return err
}
