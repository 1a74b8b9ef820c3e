package translate

import (
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// The names of the sets, as they are for IPv4; SetName gives those for IPv6.
const (
	LoopBack               = "KUBE-LOOP-BACK"
	ClusterIP              = "KUBE-CLUSTER-IP"
	ExternalIP             = "KUBE-EXTERNAL-IP"
	ExternalIPLocal        = "KUBE-EXTERNAL-IP-LOCAL"
	LoadBalancer           = "KUBE-LOAD-BALANCER"
	LoadBalancerLocal      = "KUBE-LOAD-BALANCER-LOCAL"
	LoadBalancerFW         = "KUBE-LOAD-BALANCER-FW"
	LoadBalancerSourceIP   = "KUBE-LOAD-BALANCER-SOURCE-IP"
	LoadBalancerSourceCIDR = "KUBE-LOAD-BALANCER-SOURCE-CIDR"
	NodePortTCP            = "KUBE-NODE-PORT-TCP"
	NodePortLocalTCP       = "KUBE-NODE-PORT-LOCAL-TCP"
	NodePortUDP            = "KUBE-NODE-PORT-UDP"
	NodePortLocalUDP       = "KUBE-NODE-PORT-LOCAL-UDP"
	NodePortSCTP           = "KUBE-NODE-PORT-SCTP-HASH"
	NodePortLocalSCTP      = "KUBE-NODE-PORT-LOCAL-SCTP-HASH"
	HealthCheckNodePort    = "KUBE-HEALTH-CHECK-NODE-PORT"
	IPVSIPs                = "KUBE-IPVS-IPS"

	// ServedIPs, NodePortIPs, NoEndpoints, NoLocal and InternalMark are not kube-proxy's; see the package comment.
	ServedIPs    = "KUBE-SERVED-IPS"
	NodePortIPs  = "KUBE-NODE-PORT-IPS"
	NoEndpoints  = "KUBE-NO-ENDPOINTS"
	NoLocal      = "KUBE-NO-LOCAL"
	InternalMark = "KUBE-INTERNAL-MARK"
)

// maxSetName is the longest name a set can have: IPSET_MAXNAMELEN of linux/netfilter/ipset/ip_set.h, less the final 0.
const maxSetName = 31

// SetName returns the name that a set has in a family. For IPv6 "KUBE-" becomes "KUBE-6-", and what is then too long for
// ipset is cut off, as kube-proxy does.
func SetName(family dataplane.Family, name string) string {
	if family != dataplane.IPv6 {
		return name
	}
	name = strings.Replace(name, "KUBE-", "KUBE-6-", 1)
	return name[:min(len(name), maxSetName)]
}

// Sets describes every set the proxy uses in the families, with kube-proxy's types and parameters.
func Sets(families []dataplane.Family) []dataplane.Set {
	kinds := []struct {
		setType dataplane.SetType
		names   []string
	}{
		{dataplane.HashIPPortIP, []string{LoopBack, LoadBalancerSourceIP}},
		{dataplane.HashIPPort, []string{ClusterIP, ExternalIP, ExternalIPLocal, LoadBalancer, LoadBalancerFW,
			LoadBalancerLocal, NodePortSCTP, NodePortLocalSCTP, NoEndpoints, NoLocal, InternalMark}},
		{dataplane.HashIPPortNet, []string{LoadBalancerSourceCIDR}},
		{dataplane.BitmapPort, []string{NodePortTCP, NodePortLocalTCP, NodePortUDP, NodePortLocalUDP, HealthCheckNodePort}},
		{dataplane.HashIP, []string{IPVSIPs, ServedIPs, NodePortIPs}},
	}
	var out []dataplane.Set
	for _, family := range families {
		for _, kind := range kinds {
			for _, name := range kind.names {
				out = append(out, describeSet(family, name, kind.setType))
			}
		}
	}
	return out
}

// Beside picks from sets and rules those of which kube-proxy's mode ipvs knows nothing: it neither changes nor removes them, and
// none of its own rules need them.
func Beside(sets []dataplane.Set, rulesets []dataplane.Ruleset) ([]dataplane.Set, []dataplane.Ruleset) {
	var own []dataplane.Set
	for _, set := range sets {
		for _, name := range []string{ServedIPs, NodePortIPs, NoEndpoints, NoLocal, InternalMark} {
			if set.Name == name || set.Name == SetName(dataplane.IPv6, name) {
				own = append(own, set)
			}
		}
	}
	var mangle []dataplane.Ruleset
	for _, rules := range rulesets {
		picked := dataplane.Ruleset{Family: rules.Family}
		for _, chain := range rules.Chains {
			if chain.Table == dataplane.Mangle {
				picked.Chains = append(picked.Chains, chain)
			}
		}
		for _, jump := range rules.Jumps {
			if jump.Table == dataplane.Mangle {
				picked.Jumps = append(picked.Jumps, jump)
			}
		}
		mangle = append(mangle, picked)
	}
	return own, mangle
}

func describeSet(family dataplane.Family, name string, setType dataplane.SetType) dataplane.Set {
	set := dataplane.Set{Name: SetName(family, name), Type: setType, Family: family}
	if setType == dataplane.BitmapPort {
		// A bitmap of ports knows no family: the set for IPv6 differs by name only.
		set.Family = dataplane.IPv4
		return set
	}
	set.Marks = name == InternalMark
	set.HashSize, set.MaxElem = dataplane.DefaultHashSize, dataplane.DefaultMaxElem
	return set
}

// Exceptions says which sets keep what other sets have masqueraded from it, because externalTrafficPolicy Local holds.
func Exceptions() dataplane.Exceptions {
	out := dataplane.Exceptions{}
	for _, family := range dataplane.Families() {
		out[SetName(family, LoadBalancerLocal)] = SetName(family, LoadBalancer)
		for _, protocol := range protocols() {
			all, local := nodePortSets(protocol)
			out[SetName(family, local)] = SetName(family, all)
		}
	}
	return out
}

// Refusals returns the names of the sets that keep new connections off virtual servers.
func Refusals() map[string]struct{} {
	out := map[string]struct{}{}
	for _, family := range dataplane.Families() {
		for _, name := range []string{NoEndpoints, NoLocal} {
			out[SetName(family, name)] = struct{}{}
		}
	}
	return out
}

// nodePortSets returns the sets in which the NodePorts of a protocol are, and those of them with
// externalTrafficPolicy Local. The ones of SCTP hold addresses and ports, the others ports only.
func nodePortSets(protocol dataplane.Protocol) (all, local string) {
	switch protocol {
	case dataplane.UDP:
		return NodePortUDP, NodePortLocalUDP
	case dataplane.SCTP:
		return NodePortSCTP, NodePortLocalSCTP
	}
	return NodePortTCP, NodePortLocalTCP
}
