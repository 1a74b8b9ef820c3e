package ipset

import (
	"cmp"
	"context"
	"slices"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// ShrinkReceiveBuffer makes the kernel lose answers to a batch.
func (d *Driver) ShrinkReceiveBuffer() error {
	return unix.SetsockoptInt(d.conn.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
}

// BreakSocket puts something that is no socket in the place of the driver's.
func (d *Driver) BreakSocket() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Dup2(null, d.conn.socket.fd); err != nil {
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
	e.message(cmdList, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, d.conn.socket.nextSeq(), func(e *encoder) {
		e.uint8(attrProtocol, d.conn.version)
		e.text(attrSetName, set)
	})
	return d.conn.socket.send(e.b)
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
