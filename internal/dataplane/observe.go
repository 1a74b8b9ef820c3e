package dataplane

import "net/netip"

// NodeAddress is an address of one of the node's own interfaces.
type NodeAddress struct {
	Addr      netip.Addr
	Interface string
}

// EventKind says what an Event is about.
type EventKind uint8

// The kinds of events.
const (
	// BoundAddressAdded: Addr appeared on the device.
	BoundAddressAdded EventKind = iota + 1
	// BoundAddressRemoved: Addr vanished from the device.
	BoundAddressRemoved
	// DeviceRemoved: the device itself is gone, and all addresses with it.
	DeviceRemoved
	// NodeAddressesChanged: an address of another interface came or went; read NodeAddresses.
	NodeAddressesChanged
	// Overrun: events were lost; only a snapshot tells what is true.
	Overrun
)

// Event is a change seen in the kernel.
type Event struct {
	Kind EventKind
	Addr netip.Addr // for the BoundAddress kinds
}
