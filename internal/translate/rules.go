package translate

import (
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// The chains, by kube-proxy's names. When kube-proxy starts it empties exactly these, so that everything of ours has to
// be inside them to vanish with the rest.
const (
	chainServices       = "KUBE-SERVICES"
	chainPostrouting    = "KUBE-POSTROUTING"
	chainNodePort       = "KUBE-NODE-PORT" // one in nat, one in filter
	chainLoadBalancer   = "KUBE-LOAD-BALANCER"
	chainMarkMasq       = "KUBE-MARK-MASQ"
	chainForward        = "KUBE-FORWARD"
	chainProxyFirewall  = "KUBE-PROXY-FIREWALL"
	chainSourceRanges   = "KUBE-SOURCE-RANGES-FIREWALL"
	chainIPVSFilter     = "KUBE-IPVS-FILTER"
	chainIPVSOutFilter  = "KUBE-IPVS-OUT-FILTER"
	chainInternalMark   = "KUBE-INTERNAL-MARK"
	commentServices     = "kubernetes service portals"
	commentPostrouting  = "kubernetes postrouting rules"
	commentForward      = "kubernetes forwarding rules"
	commentHealthCheck  = "kubernetes health check rules"
	commentFirewall     = "kube-proxy firewall rules"
	commentAccessFilter = "kubernetes ipvs access filter"
	commentInternal     = "kubernetes clients inside the cluster"
)

// Rules returns the packet-filter rules of a family. They name sets and never a Service's address, and depend on the
// options alone.
func Rules(family dataplane.Family, options service.Options) dataplane.Ruleset {
	r := ruleBuilder{family: family, masquerade: options.Masquerade}
	return dataplane.Ruleset{
		Family: family,
		Chains: []dataplane.Chain{
			{Table: dataplane.NAT, Name: chainServices, Rules: r.services()},
			{Table: dataplane.NAT, Name: chainPostrouting, Rules: r.postrouting()},
			{Table: dataplane.NAT, Name: chainNodePort, Rules: r.nodePort()},
			{Table: dataplane.NAT, Name: chainLoadBalancer, Rules: r.loadBalancer()},
			{Table: dataplane.NAT, Name: chainMarkMasq, Rules: r.markMasq()},
			{Table: dataplane.Filter, Name: chainForward, Rules: r.forward()},
			{Table: dataplane.Filter, Name: chainNodePort, Rules: r.healthCheck()},
			{Table: dataplane.Filter, Name: chainProxyFirewall, Rules: r.proxyFirewall()},
			{Table: dataplane.Filter, Name: chainSourceRanges, Rules: r.sourceRanges()},
			{Table: dataplane.Filter, Name: chainIPVSFilter, Rules: r.ipvsFilter()},
			{Table: dataplane.Filter, Name: chainIPVSOutFilter, Rules: nil},
			{Table: dataplane.Mangle, Name: chainInternalMark, Rules: r.internalMark()},
			// Once more for the node itself: IPVS takes its packets before table filter sees them.
			{Table: dataplane.Mangle, Name: chainProxyFirewall, Rules: r.proxyFirewall()},
			{Table: dataplane.Mangle, Name: chainSourceRanges, Rules: r.sourceRanges()},
		},
		Jumps: jumps(),
	}
}

// jumps are kube-proxy's, letter for letter and in its order, so that each finds the other's instead of adding its own;
// those in table mangle are ours alone. They are prepended one by one: INPUT comes to pass KUBE-IPVS-FILTER first and KUBE-NODE-PORT last.
func jumps() []dataplane.Jump {
	return []dataplane.Jump{
		{Table: dataplane.NAT, From: "OUTPUT", To: chainServices, Comment: commentServices},
		{Table: dataplane.NAT, From: "PREROUTING", To: chainServices, Comment: commentServices},
		{Table: dataplane.NAT, From: "POSTROUTING", To: chainPostrouting, Comment: commentPostrouting},
		{Table: dataplane.Filter, From: "FORWARD", To: chainForward, Comment: commentForward},
		{Table: dataplane.Filter, From: "INPUT", To: chainNodePort, Comment: commentHealthCheck},
		{Table: dataplane.Filter, From: "INPUT", To: chainProxyFirewall, Comment: commentFirewall},
		{Table: dataplane.Filter, From: "FORWARD", To: chainProxyFirewall, Comment: commentFirewall},
		{Table: dataplane.Filter, From: "INPUT", To: chainIPVSFilter, Comment: commentAccessFilter},
		{Table: dataplane.Filter, From: "OUTPUT", To: chainIPVSOutFilter, Comment: commentAccessFilter},
		{Table: dataplane.Mangle, From: "INPUT", To: chainInternalMark, Comment: commentInternal},
		{Table: dataplane.Mangle, From: "OUTPUT", To: chainInternalMark, Comment: commentInternal},
		{Table: dataplane.Mangle, From: "OUTPUT", To: chainProxyFirewall, Comment: commentFirewall},
	}
}

// ruleBuilder builds the rules of one family.
type ruleBuilder struct {
	family     dataplane.Family
	masquerade service.Masquerade
}

// Which parts of a packet are looked up in a set.
const (
	toAddress     = "dst"
	toPort        = "dst" // in a set of ports
	toAddressPort = "dst,dst"
	toFrom        = "dst,dst,src" // address and port it goes to, address it comes from
	fromAddress   = "src"
)

func (r ruleBuilder) in(set, fields string) dataplane.Match {
	return dataplane.MatchSet{Set: SetName(r.family, set), Fields: fields}
}

func (r ruleBuilder) notIn(set, fields string) dataplane.Match {
	return dataplane.MatchSet{Set: SetName(r.family, set), Fields: fields, Not: true}
}

func (r ruleBuilder) mark() uint32 { return r.masquerade.Bit() }

func (r ruleBuilder) marked(not bool) dataplane.Match {
	return dataplane.MatchMark{Value: r.mark(), Mask: r.mark(), Not: not}
}

func (r ruleBuilder) loopback() netip.Prefix {
	if r.family == dataplane.IPv6 {
		return netip.PrefixFrom(netip.IPv6Loopback(), 128)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
}

// fromPods returns the match for traffic of pods, notFromPods for all other; false if nobody said how to tell.
func (r ruleBuilder) fromPods() (dataplane.Match, bool)    { return r.pods(false) }
func (r ruleBuilder) notFromPods() (dataplane.Match, bool) { return r.pods(true) }

func (r ruleBuilder) pods(not bool) (dataplane.Match, bool) {
	if name := r.masquerade.Local.Interface; name != "" {
		return dataplane.MatchInput{Interface: name, Not: not}, true
	}
	cidrs := r.masquerade.Local.CIDRs
	i := slices.IndexFunc(cidrs, func(p netip.Prefix) bool { return dataplane.FamilyOf(p.Addr()) == r.family })
	if i < 0 {
		return nil, false
	}
	return dataplane.MatchSource{Prefix: cidrs[i].Masked(), Not: not}, true
}

// rule writes a rule on one line.
func rule(comment string, action dataplane.Action, matches ...dataplane.Match) dataplane.Rule {
	return dataplane.Rule{Matches: matches, Action: action, Comment: comment}
}

// protocols are those a Service can have.
func protocols() []dataplane.Protocol {
	return []dataplane.Protocol{dataplane.TCP, dataplane.UDP, dataplane.SCTP}
}
