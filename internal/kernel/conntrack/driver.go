package conntrack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// Driver speaks to the connection tracking of the network namespace it was opened in. Its methods may be called from one
// goroutine at a time. A socket that broke is opened again on the next call, in the namespace of the thread that calls,
// which must be the same (P05).
type Driver struct {
	conn   *nlbatch.Conn
	now    func() time.Time // nil without report
	report func(Pass)       // nil for nobody
}

// Open returns a driver for the calling thread's network namespace. It says nothing about whether the kernel has
// connection tracking: that module may come later, and until then there is nothing to delete.
func Open(options ...Option) (*Driver, error) {
	d := &Driver{conn: nlbatch.New(nlbatch.Dialer(unix.NETLINK_NETFILTER))}
	for _, option := range options {
		option(d)
	}
	if err := d.conn.Connect(); err != nil {
		return nil, typed(err)
	}
	return d, nil
}

// Close releases the socket. Later calls of Delete fail.
func (d *Driver) Close() error { return d.conn.Close() }

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
	end := d.timed(family)
	stale, err := d.stale(ctx, family, m)
	if err != nil {
		for _, at := range positions {
			results[at] = err
		}
		return
	}
	end(d.deleteEntries(ctx, family, stale, m, results))
}

// deleteEntries deletes entries and returns how many it did.
func (d *Driver) deleteEntries(ctx context.Context, family dataplane.Family, stale []entry, m matcher, results []error) (deleted int) {
	// Exactly the entries that were seen are deleted, not others that took their places.
	answers := d.conn.Batch(ctx, len(stale), func(b []byte, i int) []byte {
		return append(begin(b, family, nl.IPCTNL_MSG_CT_DELETE, 0), stale[i].identity...)
	})
	for i, err := range answers {
		if err == nil {
			deleted++
			continue
		}
		if nlbatch.RefusedWith(err) == unix.ENOENT {
			continue
		}
		one := stale[i].original
		err = fmt.Errorf("delete the entry of %s to %s: %w", one.from, one.to, typed(err))
		for _, at := range m.match(stale[i]) {
			results[at] = errors.Join(results[at], err)
		}
	}
	return deleted
}

// stale returns the entries that match. A kernel that does not understand the filter is asked without.
func (d *Driver) stale(ctx context.Context, family dataplane.Family, m matcher) ([]entry, error) {
	protocol := m.protocol()
	found, err := d.dump(ctx, family, protocol, m)
	if protocol != 0 && nlbatch.RefusedWith(err) == unix.EINVAL {
		found, err = d.dump(ctx, family, 0, m)
	}
	switch {
	case nlbatch.RefusedWith(err) == unix.EINVAL: // what nfnetlink answers for a subsystem that it does not have
		return nil, fmt.Errorf("list %s entries: %w: load the module nf_conntrack_netlink (%w)", family, dataplane.ErrUnavailable, err)
	case err != nil:
		return nil, fmt.Errorf("list %s entries: %w", family, typed(err))
	}
	return found, nil
}

// dump reads the entries of a family, of one protocol unless that is 0, and returns those that match.
func (d *Driver) dump(ctx context.Context, family dataplane.Family, protocol dataplane.Protocol, m matcher) ([]entry, error) {
	return nlbatch.Query(ctx, d.conn, func(b []byte) []byte {
		b = begin(b, family, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
		if protocol != 0 {
			b = appendFilter(b, protocol)
		}
		return b
	}, func(message nlbatch.Message) (entry, error) {
		one, err := parseEntry(message.Payload)
		if err == nil && m.match(one) == nil {
			err = nlbatch.ErrSkip
		}
		return one, err
	})
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
