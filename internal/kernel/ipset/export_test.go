package ipset

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// ShrinkReceiveBuffer makes the kernel lose answers to a batch.
func (d *Driver) ShrinkReceiveBuffer() error {
	return unix.SetsockoptInt(d.fd(), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
}

// BreakSocket puts something that is no socket in the place of the driver's.
func (d *Driver) BreakSocket() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Dup2(null, d.fd()); err != nil {
		return err
	}
	return unix.Close(null)
}

func (d *Driver) fd() int {
	wire, _ := d.conn.batch.Wire()
	return wire.(*nlbatch.Socket).FD()
}

// Limits of the driver that tests work around.
const MaxElements = maxElements

// BatchSize is how many requests one send carries at most.
func (d *Driver) BatchSize() int {
	_, limits := d.conn.batch.Wire()
	return limits.Messages
}

// BeginReading asks for a set's entries and leaves them unread, as a slow reader does, until the driver is closed.
func (d *Driver) BeginReading(set string) error {
	b := d.conn.request(cmdList, unix.NLM_F_DUMP, func(e *encoder) { e.text(attrSetName, set) })(nil)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	wire, _ := d.conn.batch.Wire()
	return wire.Send(b)
}

// GrowBy is what Apply does with a full set.
func (d *Driver) GrowBy(ctx context.Context, set string, more int) error {
	return d.conn.growBy(ctx, set, more)
}

// LookUpType asks the kernel for a set type.
func (d *Driver) LookUpType(ctx context.Context, t dataplane.SetType) error {
	_, err := d.conn.revision(ctx, dataplane.Set{Type: t})
	return err
}

// Sets returns every set of the namespace, sorted by name. A set of a type that is not in package dataplane has Type 0.
// HashSize is the present number of buckets, which grows with the set.
func (d *Driver) Sets(ctx context.Context) ([]dataplane.Set, error) {
	headers, err := d.conn.headers(ctx)
	if err != nil {
		return nil, err
	}
	sets := make([]dataplane.Set, 0, len(headers))
	for _, h := range headers {
		sets = append(sets, h.set)
	}
	slices.SortFunc(sets, func(a, b dataplane.Set) int { return cmp.Compare(a.Name, b.Name) })
	return sets, nil
}

// Swap is what a replacement is put into its place with.
func (d *Driver) Swap(ctx context.Context, a, b string) error { return d.conn.swap(ctx, a, b) }

// Grow is the replacement of a set by a larger one.
func (d *Driver) Grow(ctx context.Context, set dataplane.Set) error { return d.conn.grow(ctx, set) }
