package dataplane

import (
	"fmt"
	"net/netip"
)

// Family is an IP version: 4 or 6.
type Family uint8

// The two families. The zero Family is invalid.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Families lists both, in the order in which they are worked on.
func Families() []Family { return []Family{IPv4, IPv6} }

// String returns "IPv4" or "IPv6", the spelling of the Kubernetes API and of kube-proxy's ip_family label.
func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return fmt.Sprintf("Family(%d)", uint8(f))
}

// Bits is the length of an address of the family: 32 or 128.
func (f Family) Bits() int {
	if f == IPv6 {
		return 128
	}
	return 32
}

// FamilyOf returns the family of a valid address. An IPv4-mapped IPv6 address counts as IPv6: callers unmap first.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}

// Protocol is a transport protocol by its IANA number.
type Protocol uint8

// The protocols a Service port can have.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String returns the lower-case name that ipset and iptables use: "tcp", "udp" or "sctp".
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return fmt.Sprintf("protocol-%d", uint8(p))
}

// Drains reports whether a real server of the protocol is drained before it is deleted. Only TCP has connections that a
// peer ends; UDP and SCTP real servers are deleted at once, as kube-proxy does.
func (p Protocol) Drains() bool { return p == TCP }
