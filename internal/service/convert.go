package service

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/internal/dataplane"
)

// maxValue is how many bytes of an offending value a Problem quotes.
const maxValue = 100

// findings collects the problems of one object while it is converted.
type findings struct {
	object   string
	problems []Problem
}

// findingsOf starts the findings of the object of a kind and name; namespace is empty for a Node.
func findingsOf(kind, namespace, name string) *findings {
	if namespace != "" {
		name = namespace + "/" + name
	}
	return &findings{object: kind + " " + name}
}

// add notes that the value of a field cannot be used, and why and what to do.
func (f *findings) add(field string, value any, reason string, args ...any) {
	text := fmt.Sprint(value)
	if len(text) > maxValue {
		text = strings.ToValidUTF8(text[:maxValue], "") + "…"
	}
	f.problems = append(f.problems, Problem{Object: f.object, Field: field, Value: text, Reason: fmt.Sprintf(reason, args...)})
}

// scope says which special addresses an address field may hold.
type scope uint8

const (
	loopbackAllowed scope = 1 << iota
	linkLocalAllowed
)

// address returns the address that a field holds, or false and a finding when it cannot be used.
func (f *findings) address(field, value string, allowed scope) (netip.Addr, bool) {
	addr, err := ParseAddr(value)
	if err != nil {
		f.add(field, value, "not an IP address; write it without spaces, port or prefix length, as in 192.0.2.1 or 2001:db8::1")
		return netip.Addr{}, false
	}
	if reason := unusable(addr, allowed); reason != "" {
		f.add(field, value, "%s", reason)
		return netip.Addr{}, false
	}
	return addr, true
}

// unusable says why an address cannot be a unicast address of the cluster; empty when it can.
func unusable(addr netip.Addr, allowed scope) string {
	switch {
	case addr.Zone() != "":
		return "an address with a zone has a meaning on one node only; use one without"
	case addr.Is4In6():
		return "an IPv4 address in IPv6 form; write " + addr.Unmap().String()
	case addr.IsUnspecified():
		return "the unspecified address; name one address"
	case addr.IsMulticast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "a multicast or broadcast address; use a unicast address"
	case addr.IsLoopback() && allowed&loopbackAllowed == 0:
		return "a loopback address never leaves its host; use an address that is routed in the cluster"
	case addr.IsLinkLocalUnicast() && allowed&linkLocalAllowed == 0:
		return "a link-local address is not routed; use an address that is routed in the cluster"
	}
	return ""
}

// prefix returns the CIDR that a field holds, with the host bits cleared, or false and a finding.
func (f *findings) prefix(field, value string) (netip.Prefix, bool) {
	prefix, err := ParsePrefix(strings.TrimSpace(value))
	switch {
	case err != nil:
		f.add(field, value, "not a CIDR; write address/length, as in 192.0.2.0/24 or 2001:db8::/64")
		return netip.Prefix{}, false
	case prefix.Addr().Is4In6():
		f.add(field, value, "an IPv4 range in IPv6 form; write it as IPv4, as in 192.0.2.0/24")
		return netip.Prefix{}, false
	}
	return prefix, true
}

// port returns the port number that a field holds, or false and a finding.
func (f *findings) port(field string, value int32) (uint16, bool) {
	if value < 1 || value > math.MaxUint16 {
		f.add(field, value, "not a port; use a number from 1 to 65535")
		return 0, false
	}
	return uint16(value), true
}

// protocol returns the protocol that a field holds, TCP when it is empty, or false and a finding.
func (f *findings) protocol(field string, value corev1.Protocol) (dataplane.Protocol, bool) {
	switch value {
	case corev1.ProtocolTCP, "":
		return dataplane.TCP, true
	case corev1.ProtocolUDP:
		return dataplane.UDP, true
	case corev1.ProtocolSCTP:
		return dataplane.SCTP, true
	}
	f.add(field, value, "unknown protocol; use TCP, UDP or SCTP")
	return 0, false
}

// appendNew appends a value unless the list has it.
func appendNew[T comparable](list []T, value T) []T {
	if slices.Contains(list, value) {
		return list
	}
	return append(list, value)
}

// familiesOf returns the families that occur among addresses, IPv4 first.
func familiesOf(lists ...[]netip.Addr) []dataplane.Family {
	var found []dataplane.Family
	for _, list := range lists {
		for _, addr := range list {
			found = appendNew(found, dataplane.FamilyOf(addr))
		}
	}
	slices.Sort(found)
	return found
}
