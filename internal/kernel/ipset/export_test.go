package ipset

import "golang.org/x/sys/unix"

// ShrinkReceiveBuffer makes the kernel lose answers to a batch.
func (d *Driver) ShrinkReceiveBuffer() error {
	return unix.SetsockoptInt(d.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
}

// BreakSocket puts something that is no socket in the place of the driver's.
func (d *Driver) BreakSocket() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Dup2(null, d.socket.fd); err != nil {
		return err
	}
	return unix.Close(null)
}

// Limits of the driver that tests work around.
const (
	MaxElements = maxElements
	BatchSize   = batchSize
)
