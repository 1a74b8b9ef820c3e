package ipvs

import (
	"context"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// SqueezeReceiveBuffer makes the driver's socket drop answers: its receive buffer becomes the smallest there is, while
// the size of the sends stays.
func (d *Driver) SqueezeReceiveBuffer() error {
	return unix.SetsockoptInt(d.fd(), unix.SOL_SOCKET, unix.SO_RCVBUF, 0)
}

// BreakSocket replaces the driver's socket by one that is closed at its other end.
func (d *Driver) BreakSocket() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	fd := d.fd()
	err = unix.Dup3(pair[0], fd, unix.O_CLOEXEC)
	_ = unix.Close(pair[0])
	_ = unix.Close(pair[1])
	return err
}

// Limits returns the bytes and the messages of the largest send.
func (d *Driver) Limits() (bytes, messages int) {
	_, limits := d.conn.batch.Wire()
	return limits.Bytes, limits.Messages
}

func (d *Driver) fd() int {
	wire, _ := d.conn.batch.Wire()
	return wire.(*nlbatch.Socket).FD()
}

// ForgetFamily makes the driver use a number that no netlink family has.
func (d *Driver) ForgetFamily() { d.conn.family = 1000 }

// ByNetlink makes the driver read by generic netlink alone.
func (d *Driver) ByNetlink() error { return d.options.close() }

// connections is Driver.Connections on a connection of a test's own.
func (c *conn) connections(ctx context.Context, keys []dataplane.VirtualServerKey) (counts, error) {
	return (&Driver{conn: c}).Connections(ctx, keys)
}

// pools is Driver.Pools on a connection of a test's own.
func (c *conn) pools(ctx context.Context) ([]dataplane.Pool, counts, error) {
	return (&Driver{conn: c}).Pools(ctx)
}
