package dataplane

import (
	"maps"
	"net/netip"
)

// Keys are identities of objects of every kind: what changed, what is to be looked at again. Entries are identified by
// Entry.Key.
type Keys struct {
	VirtualServers map[VirtualServerKey]struct{}
	Addresses      map[netip.Addr]struct{}
	Entries        map[Entry]struct{}
	Flows          map[Flows]struct{}
}

// NewKeys returns an empty set of keys.
func NewKeys() Keys {
	return Keys{
		VirtualServers: make(map[VirtualServerKey]struct{}),
		Addresses:      make(map[netip.Addr]struct{}),
		Entries:        make(map[Entry]struct{}),
		Flows:          make(map[Flows]struct{}),
	}
}

// Len is the number of keys.
func (k Keys) Len() int {
	return len(k.VirtualServers) + len(k.Addresses) + len(k.Entries) + len(k.Flows)
}

// Merge adds the other keys.
func (k Keys) Merge(o Keys) {
	maps.Copy(k.VirtualServers, o.VirtualServers)
	maps.Copy(k.Addresses, o.Addresses)
	maps.Copy(k.Entries, o.Entries)
	maps.Copy(k.Flows, o.Flows)
}

// AddOf adds the key of an operation's object: for a Member that of its virtual server.
func (k Keys) AddOf(object Object) {
	switch x := object.(type) {
	case VirtualServer:
		k.VirtualServers[x.Key] = struct{}{}
	case Member:
		k.VirtualServers[x.VirtualServer] = struct{}{}
	case Address:
		k.Addresses[x.Addr] = struct{}{}
	case Entry:
		k.Entries[x.Key()] = struct{}{}
	case Flows:
		k.Flows[x] = struct{}{}
	}
}
