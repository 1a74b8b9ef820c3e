package conntrack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

const (
	answerTimeout = 30 * time.Second // a dump of a large table takes seconds
	attempts      = 3
)

// Driver speaks to the connection tracking of the network namespace it was opened in. Its methods may be called from one
// goroutine at a time. A socket that broke is opened again on the next call, in the namespace of the thread that calls,
// which must be the same (P05).
type Driver struct {
	socket *nl.SocketHandle // nil after it broke
	closed bool
}

// Open returns a driver for the calling thread's network namespace. It says nothing about whether the kernel has
// connection tracking: that module may come later, and until then there is nothing to delete.
func Open() (*Driver, error) {
	d := &Driver{}
	if err := d.connect(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Driver) connect() error {
	if d.closed {
		return fmt.Errorf("conntrack socket: %w", os.ErrClosed)
	}
	if d.socket != nil {
		return nil
	}
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open a netfilter socket: %w", typed(err))
	}
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	if err := errors.Join(socket.SetSendTimeout(&timeout), socket.SetReceiveTimeout(&timeout)); err != nil {
		socket.Close()
		return fmt.Errorf("prepare a netfilter socket: %w", err)
	}
	d.socket = &nl.SocketHandle{Socket: socket}
	return nil
}

// Close releases the socket.
func (d *Driver) Close() error {
	d.closed = true
	d.drop()
	return nil
}

func (d *Driver) drop() {
	if d.socket != nil {
		d.socket.Close()
		d.socket = nil
	}
}

// Delete deletes the entries of the flows and returns one result for each, nil for success. No entry is success too.
// Other protocols than UDP and SCTP are ErrInvalid.
func (d *Driver) Delete(ctx context.Context, flows []dataplane.Flows) []error {
	results := make([]error, len(flows))
	families := map[dataplane.Family][]int{}
	for i, f := range flows {
		if results[i] = validate(f); results[i] == nil {
			family := dataplane.FamilyOf(f.VirtualServer.Addr)
			families[family] = append(families[family], i)
		}
	}
	for _, family := range dataplane.Families() {
		if positions := families[family]; len(positions) > 0 {
			d.deleteFamily(ctx, family, newMatcher(flows, positions), positions, results)
		}
	}
	for i, err := range results {
		if err != nil {
			results[i] = fmt.Errorf("conntrack -D -p %s: %w", flows[i], err)
		}
	}
	return results
}

// deleteFamily deletes what matches among the entries of one family. A failed dump fails all its flows, a failed deletion
// those the entry belongs to.
func (d *Driver) deleteFamily(ctx context.Context, family dataplane.Family, m matcher, positions []int, results []error) {
	stale, err := d.stale(ctx, family, m)
	if err != nil {
		for _, at := range positions {
			results[at] = err
		}
		return
	}
	for _, one := range stale {
		err := d.with(ctx, func() error { return d.deleteEntry(family, one) })
		if err == nil {
			continue
		}
		for _, at := range m.match(one) {
			results[at] = errors.Join(results[at], err)
		}
	}
}

// with runs an idempotent exchange on a working socket, and again on a new one when the socket turns out to be broken or
// the table changed under a dump.
func (d *Driver) with(ctx context.Context, exchange func() error) error {
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.connect(); err != nil {
			return err
		}
		err := exchange()
		switch {
		case broken(err):
			d.drop()
		case !errors.Is(err, netlink.ErrDumpInterrupted):
			return err
		}
		if attempt == attempts {
			return err
		}
	}
}

// stale returns the entries that match. A kernel that does not understand the filter is asked without.
func (d *Driver) stale(ctx context.Context, family dataplane.Family, m matcher) ([]entry, error) {
	protocol := m.protocol()
	found, err := d.dump(ctx, family, protocol, m)
	if protocol != 0 && errors.Is(err, unix.EINVAL) {
		found, err = d.dump(ctx, family, 0, m)
	}
	switch {
	case errors.Is(err, unix.EINVAL): // what nfnetlink answers for a subsystem that it does not have
		return nil, fmt.Errorf("list %s entries: %w: load the module nf_conntrack_netlink (%w)", family, dataplane.ErrUnavailable, err)
	case err != nil:
		return nil, fmt.Errorf("list %s entries: %w", family, typed(err))
	}
	return found, nil
}

// dump reads the entries of a family, of one protocol unless that is 0, and returns those that match.
func (d *Driver) dump(ctx context.Context, family dataplane.Family, protocol dataplane.Protocol, m matcher) ([]entry, error) {
	var found []entry
	err := d.with(ctx, func() error {
		found = nil
		request := d.request(family, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
		if protocol != 0 {
			request.AddRawData(appendFilter(nil, protocol))
		}
		var malformed error
		err := request.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(payload []byte) bool {
			one, err := parseEntry(payload)
			if err != nil {
				malformed = err
				return false
			}
			if m.match(one) != nil {
				found = append(found, one)
			}
			return true
		})
		return errors.Join(err, malformed)
	})
	return found, err
}

// deleteEntry deletes exactly the entry that was seen, not another one that took its place.
func (d *Driver) deleteEntry(family dataplane.Family, one entry) error {
	request := d.request(family, nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
	request.AddRawData(one.identity)
	_, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("delete the entry of %s to %s: %w", one.original.from, one.original.to, typed(err))
}

func (d *Driver) request(family dataplane.Family, command, flags int) *nl.NetlinkRequest {
	number := uint8(unix.AF_INET)
	if family == dataplane.IPv6 {
		number = unix.AF_INET6
	}
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|command, flags)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: d.socket}
	request.AddData(&nl.Nfgenmsg{NfgenFamily: number, Version: nl.NFNETLINK_V0})
	return request
}

func typed(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: connection tracking needs CAP_NET_ADMIN (%w)", dataplane.ErrPermission, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: load the module nf_conntrack_netlink (%w)", dataplane.ErrUnavailable, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the kernel %w (%w)", dataplane.ErrInvalid, err)
	}
	return err
}

// broken reports whether an error means that the socket is of no more use, or out of step with the kernel.
func broken(err error) bool {
	for _, sign := range []error{os.ErrClosed, unix.EBADF, unix.ENOTSOCK, unix.ENOTCONN, unix.ENETDOWN,
		unix.ECONNREFUSED, unix.ENOBUFS, unix.EAGAIN} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}
