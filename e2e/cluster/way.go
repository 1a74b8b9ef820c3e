package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/e2e/topology"
)

// Kind is a kind of address by which a Service is reached.
type Kind string

// The kinds.
const (
	ClusterIP      Kind = "ClusterIP"
	ExternalIP     Kind = "ExternalIP"
	LoadBalancerIP Kind = "LoadBalancerIP"
	NodePort       Kind = "NodePort"
)

// Kinds returns every Kind.
func Kinds() []Kind { return []Kind{ClusterIP, ExternalIP, LoadBalancerIP, NodePort} }

// Way is one way to reach a Service.
type Way struct {
	Kind     Kind
	Protocol topology.Protocol
	Family   topology.Family
}

// Ways returns the given kinds × all protocols × all families.
func Ways(kinds ...Kind) []Way {
	var ways []Way
	for _, kind := range kinds {
		for _, protocol := range topology.Protocols() {
			for _, family := range topology.Families() {
				ways = append(ways, Way{kind, protocol, family})
			}
		}
	}
	return ways
}

// Of returns the ways of some protocols.
func Of(ways []Way, protocols ...topology.Protocol) []Way {
	return slices.DeleteFunc(slices.Clone(ways), func(w Way) bool { return !slices.Contains(protocols, w.Protocol) })
}

// String names a way, fit for a subtest.
func (w Way) String() string { return fmt.Sprintf("%s/%s/%s", w.Kind, w.Protocol, w.Family) }

// portName is the name of a Service's port of a protocol.
func portName(protocol topology.Protocol) string { return strings.ToLower(string(protocol)) }

// beside are the ranges from which a Service's other virtual IPs come: each has the last bytes of the ClusterIP.
type beside struct{ four, six netip.Prefix }

// ranges of external and load-balancer IPs: those reserved for benchmarks and documentation.
func rangesOf(kind Kind) beside {
	switch kind {
	case ExternalIP:
		return beside{netip.MustParsePrefix("198.18.0.0/16"), netip.MustParsePrefix("2001:db8:18::/48")}
	default:
		return beside{netip.MustParsePrefix("198.19.0.0/16"), netip.MustParsePrefix("2001:db8:19::/48")}
	}
}

func externalRanges() []netip.Prefix {
	var all []netip.Prefix
	for _, kind := range []Kind{ExternalIP, LoadBalancerIP} {
		all = append(all, rangesOf(kind).four, rangesOf(kind).six)
	}
	return all
}

// derive returns the address of a kind that belongs to a ClusterIP: no two Services get the same.
func derive(kind Kind, clusterIP netip.Addr) netip.Addr {
	within := rangesOf(kind)
	if clusterIP.Is4() {
		bytes, own := within.four.Addr().As4(), clusterIP.As4()
		copy(bytes[2:], own[2:])
		return netip.AddrFrom4(bytes)
	}
	bytes, own := within.six.Addr().As16(), clusterIP.As16()
	copy(bytes[14:], own[14:])
	return netip.AddrFrom16(bytes)
}
