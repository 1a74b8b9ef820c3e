package topology

import "net/netip"

// dual is the same thing in both families.
type dual[T any] struct {
	four, six T
}

// limits of the address plan: how many nodes, clients and pods of a node there may be.
const (
	maxNodes   = 90
	maxClients = 100
	maxPods    = 250
)

// Where hosts stand in the underlay's subnets: nodes from 11, clients from 101.
const (
	firstNode   = 11
	firstClient = 101
)

// underlay returns the subnets that nodes and clients share.
func underlay() dual[netip.Prefix] {
	return dual[netip.Prefix]{
		four: netip.MustParsePrefix("172.18.0.0/24"),
		six:  netip.MustParsePrefix("fd00:172:18::/64"),
	}
}

// podSubnets returns the subnets of a node's pods; nodes count from 1.
func podSubnets(node int) dual[netip.Prefix] {
	four := netip.AddrFrom4([4]byte{10, 244, byte(node), 0})
	six := netip.MustParseAddr("fd00:10:244::").As16()
	six[7] = byte(node)
	return dual[netip.Prefix]{four: netip.PrefixFrom(four, 24), six: netip.PrefixFrom(netip.AddrFrom16(six), 64)}
}

// nth returns the addresses whose last byte is n.
func nth(subnets dual[netip.Prefix], n int) dual[netip.Addr] {
	four, six := subnets.four.Addr().As4(), subnets.six.Addr().As16()
	four[3], six[15] = byte(n), byte(n)
	return dual[netip.Addr]{four: netip.AddrFrom4(four), six: netip.AddrFrom16(six)}
}

// within returns the addresses with the lengths of the subnets they lie in.
func within(addresses dual[netip.Addr], subnets dual[netip.Prefix]) []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(addresses.four, subnets.four.Bits()),
		netip.PrefixFrom(addresses.six, subnets.six.Bits()),
	}
}

// alone returns each address as a prefix that holds nothing else.
func alone(addresses dual[netip.Addr]) []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(addresses.four, addresses.four.BitLen()),
		netip.PrefixFrom(addresses.six, addresses.six.BitLen()),
	}
}

// everywhere returns the default routes' destinations.
func everywhere() dual[netip.Prefix] {
	return dual[netip.Prefix]{four: netip.MustParsePrefix("0.0.0.0/0"), six: netip.MustParsePrefix("::/0")}
}
