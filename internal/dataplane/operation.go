package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"
)

// Device is the name of the dummy interface that carries the virtual servers' addresses.
const Device = "kube-ipvs0"

// Address is an address bound to Device, as a /32 or /128.
type Address struct{ netip.Addr }

// String returns the operands of `ip addr`: the address with its full prefix and the device.
func (a Address) String() string {
	return fmt.Sprintf("%s/%d dev %s", a.Addr, a.BitLen(), Device)
}

// Flows are the conntrack entries of connections that clients opened to a virtual address and that IPVS sent to one
// real server. Deleting them lets the next packet of the flow be scheduled anew. With the virtual address itself as the
// real server they are those that IPVS sent nowhere, because there was nothing to send them to.
type Flows struct {
	VirtualServer VirtualServerKey
	RealServer    netip.AddrPort
}

// String describes the flows; there is no single conntrack(8) command for a batch of them.
func (f Flows) String() string {
	return fmt.Sprintf("%s --orig-dst %s --reply-src %s", f.VirtualServer.Protocol, f.VirtualServer.Addr, f.RealServer.Addr())
}

// Compare orders flows by virtual server and real server, for stable output.
func (f Flows) Compare(o Flows) int {
	return cmp.Or(f.VirtualServer.Compare(o.VirtualServer), f.RealServer.Compare(o.RealServer))
}

// Object is what an operation works on: VirtualServer, Member, Address, Entry or Flows. All are comparable.
type Object interface {
	fmt.Stringer
	isObject()
}

func (VirtualServer) isObject() {}
func (Member) isObject()        {}
func (Address) isObject()       {}
func (Entry) isObject()         {}
func (Flows) isObject()         {}

// Verb is what an operation does to its object.
type Verb uint8

// The verbs.
//
// Add makes the object exist in exactly this state: it succeeds when the object was there, and corrects it.
// Edit changes an existing virtual server or real server and fails with ErrNotExist when there is none.
// Delete removes the object and succeeds when there was none.
const (
	Add Verb = iota + 1
	Edit
	Delete
)

// String returns the verb in lower case.
func (v Verb) String() string {
	switch v {
	case Add:
		return "add"
	case Edit:
		return "edit"
	case Delete:
		return "delete"
	}
	return fmt.Sprintf("verb-%d", uint8(v))
}

// Operation is one change to the kernel, as data: printable before it runs.
type Operation struct {
	Verb   Verb
	Object Object
}

// String returns the command an operator would type for the operation.
func (o Operation) String() string {
	switch x := o.Object.(type) {
	case VirtualServer:
		if o.Verb == Delete {
			return "ipvsadm -D " + x.Key.String()
		}
		return "ipvsadm " + map[Verb]string{Add: "-A ", Edit: "-E "}[o.Verb] + x.arguments()
	case Member:
		if o.Verb == Delete {
			return fmt.Sprintf("ipvsadm -d %s -r %s", x.VirtualServer, x.Addr)
		}
		return "ipvsadm " + map[Verb]string{Add: "-a ", Edit: "-e "}[o.Verb] + x.arguments()
	case Address:
		return "ip addr " + map[Verb]string{Add: "add ", Delete: "del "}[o.Verb] + x.String()
	case Entry:
		return "ipset " + map[Verb]string{Add: "add ", Delete: "del "}[o.Verb] + x.arguments()
	case Flows:
		return "conntrack -D -p " + x.String()
	}
	return fmt.Sprintf("%s %v", o.Verb, o.Object)
}
