package ipset

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// conn is what a Driver holds under its lock.
type conn struct {
	socket  *socket // nil after it failed and could not be opened anew
	cookie  uint64  // of the network namespace
	version uint8
	types   map[string]dataplane.SetType // of sets seen so far: entries are checked against it
	warn    func(string)
	encoder encoder
}

func (c *conn) negotiate() error {
	const action = "agree on a protocol version"
	attributes, err := c.call(context.Background(), cmdProtocol, unix.NLM_F_REQUEST, action, func(*encoder) {})
	if err != nil {
		return openError(err)
	}
	newest, oldest, err := decodeRange(attributes, attrProtocol, attrProtocolMin)
	if err != nil {
		return fmt.Errorf("ipset: %s: %w", action, err)
	}
	c.version, err = chooseVersion(newest, oldest)
	return err
}

// openError says what to do when even the first request fails. The kernel answers EINVAL when ip_set is neither built in
// nor loaded and could not be loaded.
func openError(err error) error {
	for _, missing := range []unix.Errno{unix.EINVAL, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP} {
		if errors.Is(err, missing) {
			return fmt.Errorf("ipset: %w: load module ip_set on the node (modprobe ip_set): %w", dataplane.ErrUnavailable, missing)
		}
	}
	return err
}

// chooseVersion returns the oldest version that both sides speak: all do what is needed here.
func chooseVersion(newest, oldest uint8) (uint8, error) {
	version := max(oldest, protocolMin)
	if version > min(newest, protocolMax) {
		return 0, fmt.Errorf("ipset: %w: the kernel speaks protocol versions %d to %d, this program %d to %d",
			dataplane.ErrUnavailable, oldest, newest, protocolMin, protocolMax)
	}
	return version, nil
}

// close is Driver.Close.
func (c *conn) close() error {
	if c.socket == nil {
		return nil
	}
	s := c.socket
	c.socket = nil
	if err := s.close(); err != nil {
		return fmt.Errorf("ipset: close the socket: %w", err)
	}
	return nil
}

// connect opens the socket if there is none.
func (c *conn) connect() error {
	if c.socket != nil {
		return nil
	}
	s, err := dial()
	if err != nil {
		return fmt.Errorf("ipset: %w", err)
	}
	if c.cookie != 0 && s.cookie != c.cookie {
		return errors.Join(fmt.Errorf("ipset: %w: the socket was lost, and the thread is in another network namespace now",
			dataplane.ErrUnavailable), s.close())
	}
	c.socket, c.cookie = s, s.cookie
	return nil
}

// attempts is how often an idempotent request is sent when the socket fails.
const attempts = 3

// try runs an idempotent exchange with a working socket, and again with a new one when the socket fails.
func (c *conn) try(ctx context.Context, exchange func() error) error {
	var failed *lostError
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.connect(); err != nil {
			return err
		}
		err := exchange()
		if !errors.As(err, &failed) {
			return err
		}
		if closed := c.close(); n == attempts {
			return errors.Join(err, closed)
		}
	}
}

// call sends one request and returns the attributes of its answer, none for an acknowledgement.
func (c *conn) call(ctx context.Context, command uint8, flags uint16, action string, body func(*encoder)) ([]byte, error) {
	var attributes []byte
	err := c.try(ctx, func() (err error) {
		attributes, err = c.callOnce(command, flags, action, body)
		return err
	})
	return attributes, inAction(err, action)
}

// forAction says what was tried with an error that came for something else in the same batch, or for the whole of it.
func forAction(err error, action string) error {
	var refused *Error
	if errors.As(err, &refused) {
		own := *refused
		own.Action = action
		return &own
	}
	return inAction(err, action)
}

// inAction adds what was tried to an error that does not say so.
func inAction(err error, action string) error {
	var refused *Error
	if err == nil || errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("ipset: %s: %w", action, err)
}

func (c *conn) callOnce(command uint8, flags uint16, action string, body func(*encoder)) ([]byte, error) {
	var out []byte
	err := c.exchange(command, flags, action, body, func(r reply) (bool, error) {
		if r.kind == unix.NLMSG_ERROR {
			return true, nil
		}
		attributes, err := r.attributes()
		out = append(out, attributes...)
		return true, err
	})
	return out, err
}

// exchange sends one request and hands its answers to visit until that says it was the last. Refusals end it.
func (c *conn) exchange(command uint8, flags uint16, action string, body func(*encoder), visit func(reply) (bool, error)) error {
	seq := c.socket.nextSeq()
	c.encoder.b = c.encoder.b[:0]
	c.encoder.message(command, flags, seq, func(e *encoder) {
		e.uint8(attrProtocol, c.version)
		body(e)
	})
	if err := c.socket.send(c.encoder.b); err != nil {
		return err
	}
	for done := false; !done; {
		datagram, err := c.socket.receive()
		if err != nil {
			return err
		}
		err = eachReply(datagram, func(r reply) (err error) {
			if r.seq != seq || done {
				return nil // belongs to a request that was given up
			}
			if r.kind == unix.NLMSG_ERROR || r.kind == unix.NLMSG_DONE {
				code, err := r.code()
				if err != nil || code != 0 {
					return errors.Join(err, refusal(code, false, action))
				}
			}
			done, err = visit(r)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
