package ipset

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// Driver talks to the ipset subsystem of one network namespace. Its methods may be called from several goroutines, one
// works at a time.
type Driver struct {
	mu   sync.Mutex
	conn conn
}

// Option changes how a driver is opened.
type Option func(*Driver)

// WithWarnings has warn called, from within the driver's methods, with what an operator should know although the
// operation succeeded: a set outgrew its capacity, or a temporary set was left behind.
func WithWarnings(warn func(message string)) Option {
	return func(d *Driver) { d.conn.warn = warn }
}

// Open opens a socket in the network namespace of the calling thread and agrees on a protocol version. It fails with
// ErrUnavailable when the kernel has no ipset, and with ErrPermission without CAP_NET_ADMIN.
func Open(options ...Option) (*Driver, error) {
	d := &Driver{conn: conn{batch: nlbatch.New(nlbatch.Dialer(unix.NETLINK_NETFILTER)), version: protocolMin,
		types: map[string]dataplane.SetType{}, warn: func(string) {}}}
	for _, option := range options {
		option(d)
	}
	if err := d.conn.negotiate(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close releases the socket. Sets stay as they are. Later calls of other methods fail.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.conn.batch.Close(); err != nil {
		return fmt.Errorf("ipset: %w", err)
	}
	return nil
}

// Ensure makes the sets exist with at least the wanted parameters, and returns a line for each set that it created or
// replaced. Entries are kept. Of parameters, hashsize is left as it is, because it grows with the set, and a larger
// maxelem too. Every set is tried; the errors are joined. A set of another type or family in the way is a ConflictError.
func (d *Driver) Ensure(ctx context.Context, sets []dataplane.Set) (repaired []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn.ensure(ctx, sets)
}

// Replace destroys a set that Ensure reported as a ConflictError, with its entries, and creates the wanted one. It fails
// with EBUSY while a rule refers to the set.
func (d *Driver) Replace(ctx context.Context, set dataplane.Set) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn.replace(ctx, set)
}

// Destroy removes a set and its entries; a set that is not there is fine. It fails with EBUSY while a rule, another set
// or a reader refers to it.
func (d *Driver) Destroy(ctx context.Context, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn.destroy(ctx, name)
}

// Sweep destroys those of the sets that are there, as Destroy does. It sends nothing that could change anything if none is.
func (d *Driver) Sweep(ctx context.Context, names []string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	present, err := d.conn.headers(ctx)
	if err != nil {
		return err
	}
	var failures []error
	for _, name := range names {
		if _, there := present[name]; there {
			failures = append(failures, d.conn.destroy(ctx, name))
		}
	}
	return errors.Join(failures...)
}

// Apply carries out operations on entries in order and returns one result for each, nil for success.
//
// Add and Edit make the entry exist with exactly its mark; they fail with ErrNotExist when the set is missing. Delete
// succeeds when the entry or its set is missing. An operation that fails does not keep the others from being tried. When
// the context ends, the rest fails with its error.
//
// A set that is full is grown, with a warning (see WithWarnings); ErrSetFull is returned only when that failed.
func (d *Driver) Apply(ctx context.Context, operations []dataplane.Operation) []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn.apply(ctx, operations)
}

// Entries returns the entries of the named sets, set by set, in no particular order. It returns all of them or an error:
// ErrNotExist when a set is missing, ErrConflict when it is of a type that is not in package dataplane. See ForeignMark
// for entries that the vocabulary cannot express. Between two sets, other methods get their turn.
func (d *Driver) Entries(ctx context.Context, names []string) ([]dataplane.Entry, error) {
	var all []dataplane.Entry
	for _, name := range names {
		entries, err := d.entriesOf(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	return all, nil
}

func (d *Driver) entriesOf(ctx context.Context, set string) ([]dataplane.Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, entries, err := d.conn.contents(ctx, set)
	return entries, err
}
