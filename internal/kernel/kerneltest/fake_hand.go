package kerneltest

import (
	"cmp"
	"fmt"
	"net/netip"
	"syscall"

	"kube-ipvs-proxy/internal/dataplane"
)

// World is what somebody else does to a kernel behind the proxy's back. Fake has these methods; a test on a real kernel
// brings its own.
type World interface {
	// ByHand carries out one operation as an operator would: not counted, not logged.
	ByHand(dataplane.Operation) error
	// DropDevice deletes the device with all addresses bound to it.
	DropDevice() error
	// AddNodeAddress gives an interface other than the device an address, and creates the interface if need be.
	AddNodeAddress(dataplane.NodeAddress) error
	// DropNodeAddress takes it away.
	DropNodeAddress(dataplane.NodeAddress) error
}

var _ World = (*Fake)(nil)

// ByHand implements World.
func (f *Fake) ByHand(op dataplane.Operation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.change(op)
}

// DropAddress takes an address off the device by hand.
func (f *Fake) DropAddress(addr netip.Addr) error {
	return f.ByHand(dataplane.Operation{Verb: dataplane.Delete, Object: dataplane.Address{Addr: addr}})
}

// DropDevice implements World. Deleting no device is ErrNotExist.
func (f *Fake) DropDevice() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.link.kind == "" {
		return fmt.Errorf("device %s: %w", dataplane.Device, dataplane.ErrNotExist)
	}
	f.link.kind = ""
	for addr := range f.link.addresses {
		f.events.send(dataplane.Event{Kind: dataplane.BoundAddressRemoved, Addr: addr})
	}
	clear(f.link.addresses)
	f.events.send(dataplane.Event{Kind: dataplane.DeviceRemoved})
	return nil
}

// RenameDevice takes the device's name away from it. Its addresses go with it, and no event tells of them.
func (f *Fake) RenameDevice() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.link.kind = ""
	clear(f.link.addresses)
	f.events.send(dataplane.Event{Kind: dataplane.DeviceRemoved})
}

// PutDevice gives an interface of any kind the name of the device, as a careless operator might; "dummy" is right.
func (f *Fake) PutDevice(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.link.kind = kind
}

// AddNodeAddress implements World.
func (f *Fake) AddNodeAddress(addr dataplane.NodeAddress) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if addr.Interface == dataplane.Device || addr.Interface == "" || !unicast(addr.Addr) {
		return invalid("node address %v", addr)
	}
	f.link.node[addr] = true
	f.events.send(dataplane.Event{Kind: dataplane.NodeAddressesChanged})
	return nil
}

// DropNodeAddress implements World.
func (f *Fake) DropNodeAddress(addr dataplane.NodeAddress) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.link.node[addr] {
		return fmt.Errorf("node address %v: %w", addr, dataplane.ErrNotExist)
	}
	delete(f.link.node, addr)
	f.events.send(dataplane.Event{Kind: dataplane.NodeAddressesChanged})
	return nil
}

// Overrun tells subscribers that events were lost.
func (f *Fake) Overrun() { f.events.send(dataplane.Event{Kind: dataplane.Overrun}) }

// SetConnections sets the active plus inactive connections of a real server, which must exist. They are forgotten when
// the real server is deleted.
func (f *Fake) SetConnections(key dataplane.VirtualServerKey, addr netip.AddrPort, connections uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if pool := f.pools[key]; pool != nil {
		for _, server := range pool.servers {
			if server.Addr == addr {
				pool.connections[addr] = connections
				return nil
			}
		}
	}
	return fmt.Errorf("real server %s of %s: %w", addr, key, dataplane.ErrNotExist)
}

// LimitSets sets how far a set that is full is grown; without it, to 2^24 entries as package ipset does. Sets that are
// larger already stay so. With a limit of 1, adding to a full set is ErrSetFull.
func (f *Fake) LimitSets(maxElem uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sets.limit = maxElem
}

// PutSet creates an empty set by hand, in place of one of that name that no rule uses.
func (f *Fake) PutSet(set dataplane.Set) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sets.byName[set.Name] != nil && f.used(set.Name) {
		return fmt.Errorf("set %s is used by a rule: %w", set.Name, syscall.EBUSY)
	}
	f.sets.byName[set.Name] = &fakeSet{Set: set, entries: map[dataplane.Entry]dataplane.Entry{}}
	return nil
}

// DropSet destroys a set by hand. As in the kernel, a set that a rule uses cannot be destroyed: DropRules first.
func (f *Fake) DropSet(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.sets.byName[name] == nil:
		return fmt.Errorf("set %s: %w", name, dataplane.ErrNotExist)
	case f.used(name):
		return fmt.Errorf("set %s is used by a rule: %w", name, syscall.EBUSY)
	}
	delete(f.sets.byName, name)
	return nil
}

// DropRules flushes the rules of a family by hand.
func (f *Fake) DropRules(family dataplane.Family) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.rules, family)
}

// Set returns the parameters of a set.
func (f *Fake) Set(name string) (dataplane.Set, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set := f.sets.byName[name]
	if set == nil {
		return dataplane.Set{}, false
	}
	return set.Set, true
}

// Ruleset returns the rules of a family.
func (f *Fake) Ruleset(family dataplane.Family) (dataplane.Ruleset, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rules, ok := f.rules[family]
	return rules, ok
}

func compareNodeAddresses(a, b dataplane.NodeAddress) int {
	return cmp.Or(cmp.Compare(a.Interface, b.Interface), a.Addr.Compare(b.Addr))
}
