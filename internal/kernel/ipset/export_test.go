package ipset

import (
	"context"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

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

// BeginReading asks for a set's entries and leaves them unread, as a slow reader does, until the driver is closed.
func (d *Driver) BeginReading(set string) error {
	e := encoder{}
	e.message(cmdList, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, d.socket.nextSeq(), func(e *encoder) {
		e.uint8(attrProtocol, d.version)
		e.text(attrSetName, set)
	})
	return d.socket.send(e.b)
}

// GrowBy is what Apply does with a full set.
func (d *Driver) GrowBy(ctx context.Context, set string, more int) error {
	return d.growBy(ctx, set, more)
}

// LookUpType asks the kernel for a set type.
func (d *Driver) LookUpType(ctx context.Context, t dataplane.SetType) error {
	_, err := d.revision(ctx, dataplane.Set{Type: t})
	return err
}
