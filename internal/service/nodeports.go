package service

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// ErrNodePortAddresses: a value of nodePortAddresses cannot be used.
var ErrNodePortAddresses = errors.New("nodePortAddresses")

// The keywords of nodePortAddresses.
const (
	nodePortPrimary   = "primary"
	nodePortLocalhost = "localhost"
	nodePortAll       = "all"
)

// NodePortAddresses says on which of the node's addresses NodePorts are served: the setting nodePortAddresses. The zero
// value means all of them.
type NodePortAddresses struct {
	values   []string
	primary  bool
	prefixes []netip.Prefix
}

// ParseNodePortAddresses reads the setting: the keywords primary, localhost and all, each at most once, and CIDRs. The
// error wraps ErrNodePortAddresses once for each value that cannot be used.
func ParseNodePortAddresses(values []string) (NodePortAddresses, error) {
	n := NodePortAddresses{values: slices.Clone(values)}
	var errs []error
	for i, value := range values {
		keyword := true
		switch value {
		case nodePortPrimary:
			n.primary = true
		case nodePortLocalhost:
			n.prefixes = append(n.prefixes, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
		case nodePortAll:
			n.prefixes = append(n.prefixes, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
		default:
			keyword = false
			prefix, err := ParsePrefix(value)
			if err != nil {
				errs = append(errs, fmt.Errorf("%w[%d]: %q: give a CIDR or one of the keywords primary, localhost, all",
					ErrNodePortAddresses, i, value))
				continue
			}
			n.prefixes = append(n.prefixes, prefix)
		}
		if keyword && slices.Contains(values[:i], value) {
			errs = append(errs, fmt.Errorf("%w[%d]: %q: name the keyword once", ErrNodePortAddresses, i, value))
		}
	}
	return n, errors.Join(errs...)
}

// String returns the setting as it was given, or "all" when nothing was.
func (n NodePortAddresses) String() string {
	if len(n.values) == 0 {
		return nodePortAll
	}
	return strings.Join(n.values, ",")
}

// Select returns the addresses of the node on which NodePorts are served, sorted, each once.
//
// A family that the setting says nothing about is not limited, as in kube-proxy; only while the Node's addresses are
// not known at all does the keyword primary select nothing rather than everything. Loopback is never selected, since
// IPVS cannot serve it (so the keyword localhost selects nothing), nor is an IPv6 link-local address, which means
// something else on each interface. An IPv4 link-local address is selected only by a CIDR out of that range: it belongs
// to a metadata service or a DNS cache rather than to the node.
func (n NodePortAddresses) Select(facts Facts) []netip.Addr {
	var out []netip.Addr
	for _, family := range facts.Families {
		prefixes := n.prefixesOf(family, facts)
		for _, addr := range facts.Local {
			if !Reachable(addr) || dataplane.FamilyOf(addr) != family || addr.IsLoopback() {
				continue
			}
			if slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return selects(p, addr) }) {
				out = append(out, addr)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// Listen returns the addresses for a process to listen on so that it is reached where NodePorts are, sorted: of a family
// that is not limited the unspecified address, as in kube-proxy, else those that Select returns. Unlike IPVS, a process
// can be reached at loopback addresses: if the setting covers them, they are listened on.
func (n NodePortAddresses) Listen(facts Facts) []netip.Addr {
	selected, out := n.Select(facts), []netip.Addr(nil)
	for _, family := range facts.Families {
		prefixes := n.prefixesOf(family, facts)
		if slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Bits() == 0 }) {
			out = append(out, everything(family).Addr())
			continue
		}
		for _, addr := range append([]netip.Addr{loopback(family)}, selected...) {
			if dataplane.FamilyOf(addr) == family && slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) }) {
				out = append(out, addr)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// prefixesOf returns the prefixes that limit a family, with the keyword primary resolved.
func (n NodePortAddresses) prefixesOf(family dataplane.Family, facts Facts) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range n.prefixes {
		if dataplane.FamilyOf(p.Addr()) == family {
			out = append(out, p)
		}
	}
	if n.primary {
		addr, known := facts.NodeIP(family)
		switch {
		case known && !addr.IsLoopback():
			out = append(out, netip.PrefixFrom(addr, addr.BitLen()))
		case len(facts.Node.Addresses) == 0:
			return out
		}
	}
	if len(out) == 0 {
		out = append(out, everything(family))
	}
	return out
}

func selects(p netip.Prefix, addr netip.Addr) bool {
	if addr.IsLinkLocalUnicast() && (addr.Is6() || !p.Addr().IsLinkLocalUnicast()) {
		return false
	}
	return p.Contains(addr)
}

// everything returns the prefix of length 0.
func everything(family dataplane.Family) netip.Prefix {
	if family == dataplane.IPv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// loopback returns the address by which a host reaches itself.
func loopback(family dataplane.Family) netip.Addr {
	if family == dataplane.IPv6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// NodeIP returns the node's own IP in a family: bindAddress if it is of the family and names an address, else the first
// one of the Node object. It is false when neither is known.
func (f Facts) NodeIP(family dataplane.Family) (netip.Addr, bool) {
	for _, addr := range append([]netip.Addr{f.Bind}, f.Node.Addresses...) {
		if addr.IsValid() && !addr.IsUnspecified() && dataplane.FamilyOf(addr) == family {
			return addr, true
		}
	}
	return netip.Addr{}, false
}
