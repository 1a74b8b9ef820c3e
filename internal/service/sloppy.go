package service

import (
	"net/netip"
	"strings"

	sloppy "k8s.io/utils/net"
)

// ParseAddr reads an IP address as kube-proxy does: numbers may have leading zeros, and are decimal nevertheless. Objects
// that are older than the API server's stricter rules have such addresses.
func ParseAddr(value string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(value)
	if err == nil {
		return addr, nil
	}
	lenient, ok := netip.AddrFromSlice(sloppy.ParseIPSloppy(value))
	if !ok {
		return netip.Addr{}, err
	}
	if !strings.Contains(value, ":") {
		lenient = lenient.Unmap() // net.IP has IPv4 in 16 bytes
	}
	return lenient, nil
}

// ParsePrefix reads a CIDR as kube-proxy does, with leading zeros as in ParseAddr, and clears the bits beyond its length.
func ParsePrefix(value string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(value)
	if err == nil {
		return prefix.Masked(), nil
	}
	_, lenient, failed := sloppy.ParseCIDRSloppy(value)
	if failed != nil {
		return netip.Prefix{}, err
	}
	addr, ok := netip.AddrFromSlice(lenient.IP)
	if !ok {
		return netip.Prefix{}, err
	}
	bits, _ := lenient.Mask.Size()
	return netip.PrefixFrom(addr, bits), nil
}
