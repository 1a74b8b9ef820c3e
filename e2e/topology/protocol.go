package topology

import (
	"fmt"
	"net/netip"
)

// Protocol is a transport protocol, spelt as in the Kubernetes API, so that
// corev1.Protocol(p) is its counterpart there.
type Protocol string

// The protocols of Services.
const (
	TCP  Protocol = "TCP"
	UDP  Protocol = "UDP"
	SCTP Protocol = "SCTP"
)

// Protocols returns every Protocol, for tests that go through all of them.
func Protocols() []Protocol { return []Protocol{TCP, UDP, SCTP} }

// Family is an IP family, spelt as in the Kubernetes API, so that
// corev1.IPFamily(f) is its counterpart there.
type Family string

// The IP families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Families returns every Family, for tests that go through all of them.
func Families() []Family { return []Family{IPv4, IPv6} }

// FamilyOf returns the family of a valid address; an IPv4-mapped IPv6 address counts as IPv4.
func FamilyOf(address netip.Addr) Family {
	if address.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// network is the name that package net gives to a stream or datagram socket of
// protocol for address's family.
func network(protocol Protocol, address netip.Addr) (string, error) {
	suffix := "6"
	if FamilyOf(address) == IPv4 {
		suffix = "4"
	}
	switch protocol {
	case TCP:
		return "tcp" + suffix, nil
	case UDP:
		return "udp" + suffix, nil
	case SCTP:
		return "sctp" + suffix, nil
	}
	return "", fmt.Errorf("unknown protocol %q, want one of %v", protocol, Protocols())
}
