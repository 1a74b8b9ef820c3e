package ipvs

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// Driver drives IPVS in one network namespace. Its methods may be called from several goroutines, one works at a time.
// A context is looked at between system calls, none of which waits.
//
// Errors wrap the sentinels of package dataplane together with the kernel's errno.
type Driver struct {
	mu      sync.Mutex
	conn    *conn
	options optionTable
	six     sightings
}

// Open opens the driver in the calling thread's network namespace, which must also be that of the threads that call its
// methods: a socket that breaks is replaced. It fails with dataplane.ErrUnavailable when the kernel has no IPVS. It runs
// no modprobe; newer kernels load ip_vs by themselves when they are asked for its netlink family.
func Open() (*Driver, error) {
	c := newConn(nlbatch.Dialer(unix.NETLINK_GENERIC))
	if err := c.ready(context.Background()); err != nil {
		_ = c.batch.Close()
		return nil, err
	}
	return &Driver{conn: c, options: openOptionTable()}, nil
}

// Close releases the sockets. Nothing in the kernel changes. Later calls of other methods fail.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.conn.batch.Close(), d.options.close())
}

// Connections returns the active plus inactive connections of every real server of the given virtual servers. A virtual
// server that does not exist is left out.
func (d *Driver) Connections(ctx context.Context, keys []dataplane.VirtualServerKey) (map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.connections(ctx, keys)
}

// Apply carries out operations on virtual servers and members, in order, and returns one result for each, nil for
// success. A failing operation does not keep the others from being tried; when the context ends, the rest fails with
// its error. See dataplane.Verb for what the verbs promise.
//
// An unknown scheduler is dataplane.ErrNoScheduler, a missing virtual or real server dataplane.ErrNotExist, a refused
// value dataplane.ErrInvalid.
func (d *Driver) Apply(ctx context.Context, ops []dataplane.Operation) []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.six.expect(ops)
	return d.conn.apply(ctx, ops)
}

// CheckScheduler reports whether the kernel has an IPVS scheduler or can load it: nil, or dataplane.ErrNoScheduler. It
// creates nothing. Where a virtual server of IPv4 uses the scheduler, it does not even ask.
func (d *Driver) CheckScheduler(ctx context.Context, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	servers, err := d.options.virtualServers()
	if err == nil && slices.ContainsFunc(servers, func(s countedServer) bool { return s.Scheduler == name }) {
		return nil
	}
	return d.conn.checkScheduler(ctx, name)
}

// SetTimeouts sets the timeouts that are not zero and leaves the others as they are. The kernel counts in seconds;
// fractions are rounded up.
func (d *Driver) SetTimeouts(ctx context.Context, timeouts Timeouts) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn.setTimeouts(ctx, timeouts)
}

// Timeouts returns the timeouts in force.
func (d *Driver) Timeouts(ctx context.Context) (Timeouts, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn.timeouts(ctx)
}
