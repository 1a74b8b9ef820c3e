package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netns"

	"kube-ipvs-proxy/internal/dataplane"
)

// Driver speaks to the kernel of the network namespace it was opened in. Its methods may be called from several
// goroutines, one works at a time. A socket that broke is opened again on the next call (P05).
type Driver struct {
	namespace netns.NsHandle
	kind      string // of the device; tests use another where the kernel has no dummy

	mu     sync.Mutex // guards conn and what is asked over it
	conn   *conn      // nil after it broke
	closed bool
}

// Open returns a driver for the calling thread's network namespace.
func Open() (*Driver, error) {
	namespace, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("read the current network namespace: %w", err)
	}
	d := &Driver{namespace: namespace, kind: "dummy"}
	if d.conn, err = dial(namespace); err != nil {
		_ = namespace.Close()
		return nil, err
	}
	return d, nil
}

// Close releases the sockets. The device and its addresses stay.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	var err error
	if d.conn != nil {
		err = d.conn.close()
	}
	if err := errors.Join(err, d.namespace.Close()); err != nil {
		return fmt.Errorf("close the route sockets: %w", err)
	}
	return nil
}

// with runs f on a working connection, and once more on a new one when the old turns out to be broken. Whatever f does
// must therefore be idempotent.
func (d *Driver) with(ctx context.Context, f func(*conn) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if d.closed {
			return fmt.Errorf("route socket: %w", os.ErrClosed)
		}
		if d.conn == nil {
			fresh, err := dial(d.namespace)
			if err != nil {
				return fmt.Errorf("reopen: %w", err)
			}
			d.conn = fresh
		}
		err := f(d.conn)
		if !broken(err) {
			return err
		}
		_ = d.conn.close()
		d.conn = nil
		if attempt == 2 {
			return err
		}
	}
}

// Addresses returns the device's addresses of full prefix length; others are not the proxy's. Without the device it
// fails with ErrNotExist, and with ErrConflict when an interface of another kind has its name.
func (d *Driver) Addresses(ctx context.Context) ([]netip.Addr, error) {
	var ours []netip.Addr
	err := d.with(ctx, func(c *conn) error {
		device, err := c.device(d.kind)
		if err != nil {
			return err
		}
		all, err := c.addresses(ctx)
		if err != nil {
			return err
		}
		ours = nil
		for _, one := range all {
			if one.index == device.Attrs().Index && one.ours() {
				ours = append(ours, one.prefix.Addr())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ours, nil
}

// NodeAddresses returns the addresses of all other interfaces, up or down, without loopback, multicast and IPv6
// link-local addresses. It does not need the device.
func (d *Driver) NodeAddresses(ctx context.Context) ([]dataplane.NodeAddress, error) {
	var nodes []dataplane.NodeAddress
	err := d.with(ctx, func(c *conn) error {
		all, err := c.addresses(ctx)
		if err != nil {
			return err
		}
		// Names are read last: if the device is made anew in between, its addresses then carry an index that has no name
		// any more or the device's, and cannot be taken for the node's own.
		names, err := c.names()
		if err != nil {
			return err
		}
		nodes = nil
		for _, one := range all {
			if name := names[one.index]; name != "" && name != dataplane.Device && one.ofNode() {
				nodes = append(nodes, dataplane.NodeAddress{Addr: one.prefix.Addr(), Interface: name})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return nodes, nil
}

// Apply adds and deletes addresses and returns one result for each operation. Adding what is there and deleting what is
// not succeed. ErrNotExist: there is no device to add to.
func (d *Driver) Apply(ctx context.Context, ops []dataplane.Operation) []error {
	results := make([]error, len(ops))
	valid, at := make([]dataplane.Operation, 0, len(ops)), make([]int, 0, len(ops))
	for i, op := range ops {
		if results[i] = validate(op); results[i] == nil {
			valid, at = append(valid, op), append(at, i)
		}
	}
	for i, err := range d.applyValid(ctx, valid) {
		if err != nil {
			results[at[i]] = fmt.Errorf("%s: %w", valid[i], err)
		}
	}
	return results
}

// applyValid finds the device and has the operations carried out on it. Without a device there is nothing to delete.
func (d *Driver) applyValid(ctx context.Context, ops []dataplane.Operation) (results []error) {
	if len(ops) == 0 {
		return nil
	}
	err := d.with(ctx, func(c *conn) error {
		device, err := c.device(d.kind)
		if err == nil {
			results = c.exchange(ctx, device.Attrs().Index, ops)
		}
		return err
	})
	if err == nil {
		return results
	}
	results = make([]error, len(ops))
	for i, op := range ops {
		if op.Verb != dataplane.Delete || !errors.Is(err, dataplane.ErrNotExist) {
			results[i] = err
		}
	}
	return results
}

// validate refuses what is no address operation, and addresses that cannot be a service's: the kernel would take some
// of them, but fe80 is its own business.
func validate(op dataplane.Operation) error {
	object, ok := op.Object.(dataplane.Address)
	addr := object.Addr
	switch {
	case !ok:
		return fmt.Errorf("%v: %w: %T is no address", op, dataplane.ErrInvalid, op.Object)
	case op.Verb != dataplane.Add && op.Verb != dataplane.Delete:
		return fmt.Errorf("%s %s: %w: addresses are added and deleted", op.Verb, addr, dataplane.ErrInvalid)
	case !addr.IsValid() || addr.Is4In6() || addr.Zone() != "":
		return fmt.Errorf("%s address %q: %w: not a plain address", op.Verb, addr, dataplane.ErrInvalid)
	case addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}),
		addr.Is6() && addr.IsLinkLocalUnicast():
		return fmt.Errorf("%s: %w: not an address a service can have", op, dataplane.ErrInvalid)
	}
	return nil
}
