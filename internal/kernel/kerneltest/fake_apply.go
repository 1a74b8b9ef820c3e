package kerneltest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
)

// Apply implements kernel.Kernel.
func (f *Fake) Apply(ctx context.Context, ops []dataplane.Operation) []error {
	_ = f.begin(context.WithoutCancel(ctx))
	defer f.mu.Unlock()
	f.record.counts.Batches++
	results := make([]error, len(ops))
	for i, op := range ops {
		results[i] = f.apply(ctx, op)
		f.record.operation(op, results[i])
	}
	return results
}

func (f *Fake) apply(ctx context.Context, op dataplane.Operation) error {
	err := ctx.Err()
	switch {
	case f.closed:
		err = fmt.Errorf("kernel: %w", os.ErrClosed)
	case err == nil:
		err = f.change(op)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if flows, ok := op.Object.(dataplane.Flows); ok {
		f.record.flows = append(f.record.flows, flows)
	}
	return nil
}

// change carries out one operation and returns a bare typed error.
func (f *Fake) change(op dataplane.Operation) error {
	switch op.Verb {
	case dataplane.Add, dataplane.Delete:
	case dataplane.Edit:
		switch op.Object.(type) {
		case dataplane.VirtualServer, dataplane.Member:
		default:
			return fmt.Errorf("only virtual and real servers can be edited: %w", dataplane.ErrInvalid)
		}
	default:
		return fmt.Errorf("unknown verb: %w", dataplane.ErrInvalid)
	}
	switch object := op.Object.(type) {
	case dataplane.VirtualServer:
		return f.changeVirtualServer(op.Verb, object)
	case dataplane.Member:
		return f.changeMember(op.Verb, object)
	case dataplane.Address:
		return f.changeAddress(op.Verb, object.Addr)
	case dataplane.Entry:
		return f.changeEntry(op.Verb, object)
	case dataplane.Flows:
		return deletableFlows(op.Verb, object)
	}
	return fmt.Errorf("unknown object %T: %w", op.Object, dataplane.ErrInvalid)
}

func (f *Fake) changeVirtualServer(verb dataplane.Verb, server dataplane.VirtualServer) error {
	if err := validKey(server.Key); err != nil {
		return err
	}
	if verb == dataplane.Delete {
		delete(f.pools, server.Key)
		return nil
	}
	pool := f.pools[server.Key]
	if pool == nil && verb == dataplane.Edit {
		return dataplane.ErrNotExist
	}
	// The kernel looks for the scheduler before it looks at the rest.
	if !f.schedulers[server.Scheduler] {
		return fmt.Errorf("%q: %w", server.Scheduler, dataplane.ErrNoScheduler)
	}
	if err := validServer(server); err != nil {
		return err
	}
	if pool == nil {
		pool = &fakePool{connections: map[netip.AddrPort]uint32{}}
		f.pools[server.Key] = pool
	}
	pool.VirtualServer = server
	return nil
}

func (f *Fake) changeMember(verb dataplane.Verb, member dataplane.Member) error {
	if err := validKey(member.VirtualServer); err != nil {
		return err
	}
	if !member.Addr.IsValid() {
		return fmt.Errorf("no address: %w", dataplane.ErrInvalid)
	}
	pool := f.pools[member.VirtualServer]
	if pool == nil {
		if verb == dataplane.Delete {
			return nil
		}
		return fmt.Errorf("virtual server: %w", dataplane.ErrNotExist)
	}
	at := slices.IndexFunc(pool.servers, func(s dataplane.RealServer) bool { return s.Addr == member.Addr })
	if verb == dataplane.Delete {
		if at >= 0 {
			pool.servers = slices.Delete(pool.servers, at, at+1)
			delete(pool.connections, member.Addr)
		}
		return nil
	}
	if at < 0 && verb == dataplane.Edit {
		return dataplane.ErrNotExist
	}
	if err := validMember(member); err != nil {
		return err
	}
	if at < 0 {
		pool.servers = append(pool.servers, member.RealServer)
	} else {
		pool.servers[at] = member.RealServer
	}
	return nil
}

func (f *Fake) changeAddress(verb dataplane.Verb, addr netip.Addr) error {
	if err := validAddress(addr); err != nil {
		return err
	}
	if err := f.link.usable(); err != nil {
		if verb == dataplane.Delete && f.link.kind == "" {
			return nil
		}
		return err
	}
	if f.link.addresses[addr] == (verb == dataplane.Add) {
		return nil
	}
	if verb == dataplane.Delete {
		delete(f.link.addresses, addr)
		f.events.send(dataplane.Event{Kind: dataplane.BoundAddressRemoved, Addr: addr})
		return nil
	}
	f.link.addresses[addr] = true
	f.events.send(dataplane.Event{Kind: dataplane.BoundAddressAdded, Addr: addr})
	return nil
}

// usable returns ErrNotExist when there is no device, and ErrConflict when something else has its name.
func (l *fakeLink) usable() error {
	switch l.kind {
	case "dummy":
		return nil
	case "":
		return fmt.Errorf("device %s: %w", dataplane.Device, dataplane.ErrNotExist)
	}
	return fmt.Errorf("device %s is of kind %s: %w", dataplane.Device, l.kind, dataplane.ErrConflict)
}

func (f *Fake) changeEntry(verb dataplane.Verb, entry dataplane.Entry) error {
	set := f.sets.byName[entry.Set]
	if set == nil {
		if verb == dataplane.Delete {
			return nil
		}
		return fmt.Errorf("set %s: %w", entry.Set, dataplane.ErrNotExist)
	}
	if err := validEntry(set.Set, entry); err != nil {
		return err
	}
	if entry.Peer.IsValid() {
		entry.Peer = entry.Peer.Masked() // as the kernel stores it
	}
	_, there := set.entries[entry.Key()]
	switch {
	case verb == dataplane.Delete:
		delete(set.entries, entry.Key())
	case !there && !set.room(f.sets.limit):
		return dataplane.ErrSetFull
	default:
		set.entries[entry.Key()] = entry
	}
	return nil
}

// room grows the set when it is full, as package ipset does, and returns false when it may not grow further.
func (s *fakeSet) room(limit uint32) bool {
	if s.Type == dataplane.BitmapPort || len(s.entries) < int(s.MaxElem) {
		return true
	}
	s.MaxElem = max(s.MaxElem, min(2*s.MaxElem, limit))
	return len(s.entries) < int(s.MaxElem)
}

// clone returns a copy of the set with other parameters and the same entries.
func (s *fakeSet) clone(parameters dataplane.Set) *fakeSet {
	return &fakeSet{Set: parameters, entries: maps.Clone(s.entries)}
}
