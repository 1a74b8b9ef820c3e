package ipset

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// conn is what a Driver holds under its lock.
type conn struct {
	batch   *nlbatch.Conn
	version uint8
	types   map[string]dataplane.SetType // of sets seen so far: entries are checked against it
	warn    func(string)
}

func (c *conn) negotiate() error {
	const action = "agree on a protocol version"
	attributes, err := c.call(context.Background(), cmdProtocol, 0, action, func(*encoder) {})
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

// request encodes a message with the attributes that body writes.
func (c *conn) request(command uint8, flags uint16, body func(*encoder)) func([]byte) []byte {
	return func(b []byte) []byte {
		var e encoder
		e.message(b, command, flags, c.version)
		body(&e)
		return e.b
	}
}

// call sends one idempotent request and returns the attributes of its answer, none for an acknowledgement.
func (c *conn) call(ctx context.Context, command uint8, flags uint16, action string, body func(*encoder)) ([]byte, error) {
	answers, err := nlbatch.Query(ctx, c.batch, c.request(command, flags, body), func(m nlbatch.Message) ([]byte, error) {
		attributes, err := attributesOf(m)
		return slices.Clone(attributes), err
	})
	return slices.Concat(answers...), failure(err, false, action)
}
