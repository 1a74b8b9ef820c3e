package netfilter

import (
	"net/netip"

	"kube-ipvs-proxy/internal/dataplane"
)

// setNames are the ipsets that everyRule refers to.
func setNames(family dataplane.Family) (addresses, pairs string) {
	if family == dataplane.IPv6 {
		return "KUBE-6-TEST-IP", "KUBE-6-TEST-IP-PORT"
	}
	return "KUBE-TEST-IP", "KUBE-TEST-IP-PORT"
}

// everyRule has every match and every action of the vocabulary, negated and not, alone and together.
func everyRule(family dataplane.Family) dataplane.Ruleset {
	return dataplane.Ruleset{
		Family: family,
		Chains: []dataplane.Chain{
			{Table: dataplane.NAT, Name: "KUBE-TEST-SERVICES", Rules: serviceRules(family)},
			{Table: dataplane.NAT, Name: "KUBE-TEST-MARK", Rules: markRules()},
			{Table: dataplane.NAT, Name: "KUBE-TEST-EMPTY"},
			{Table: dataplane.NAT, Name: "KUBE-TEST-POST", Rules: postRules()},
			{Table: dataplane.Filter, Name: "KUBE-TEST-FILTER", Rules: filterRules(family)},
			{Table: dataplane.Mangle, Name: "KUBE-TEST-AUDIENCE", Rules: audienceRules(family)},
		},
		Jumps: []dataplane.Jump{
			{Table: dataplane.NAT, From: "PREROUTING", To: "KUBE-TEST-SERVICES", Comment: "kubernetes service portals"},
			{Table: dataplane.NAT, From: "OUTPUT", To: "KUBE-TEST-SERVICES", Comment: "kubernetes service portals"},
			{Table: dataplane.NAT, From: "POSTROUTING", To: "KUBE-TEST-POST", Comment: "kubernetes postrouting rules"},
			{Table: dataplane.NAT, From: "PREROUTING", To: "KUBE-TEST-MARK", Comment: "plain"},
			{Table: dataplane.NAT, From: "PREROUTING", To: "KUBE-TEST-EMPTY"},
			{Table: dataplane.Filter, From: "INPUT", To: "KUBE-TEST-FILTER", Comment: "kubernetes ipvs access filter"},
			{Table: dataplane.Mangle, From: "OUTPUT", To: "KUBE-TEST-AUDIENCE", Comment: `it's "quoted" \ so`},
		},
	}
}

func serviceRules(family dataplane.Family) []dataplane.Rule {
	loopback, host := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.1.2.3/9")
	anything := netip.MustParsePrefix("0.0.0.0/0")
	if family == dataplane.IPv6 {
		loopback, host = netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fd00:1:2::3/47")
		anything = netip.MustParsePrefix("::/0")
	}
	ips, pairs := setNames(family)
	return []dataplane.Rule{
		{Matches: []dataplane.Match{dataplane.MatchSource{Prefix: loopback}}, Action: dataplane.Return{}},
		{Matches: []dataplane.Match{dataplane.MatchSource{Prefix: anything}}, Action: dataplane.Return{}},
		{Matches: []dataplane.Match{dataplane.MatchSource{Prefix: host, Not: true}, dataplane.MatchSet{Set: pairs, Fields: "dst,dst"}},
			Action: dataplane.GoTo{Chain: "KUBE-TEST-MARK"}, Comment: "Kubernetes service cluster ip + port for masquerade purpose"},
		{Matches: []dataplane.Match{dataplane.MatchSet{Set: ips, Fields: "src", Not: true}}, Action: dataplane.Accept{}},
		{Matches: []dataplane.Match{dataplane.MatchLocalSource{Not: true}, dataplane.MatchLocalDestination{}},
			Action: dataplane.GoTo{Chain: "KUBE-TEST-EMPTY"}},
		{Matches: []dataplane.Match{dataplane.MatchLocalSource{}, dataplane.MatchLocalDestination{Not: true}}, Action: dataplane.Accept{}, Comment: "word"},
		{Action: dataplane.Return{}},
	}
}

func markRules() []dataplane.Rule {
	return []dataplane.Rule{
		{Action: dataplane.SetMark{Value: 0x4000, Mask: 0x4000}},
		{Action: dataplane.SetMark{Value: 0x4000}, Comment: "xor"},
		{Action: dataplane.SetMark{Value: 0x1, Mask: 0xffffffff}},
		{Action: dataplane.SetMark{Mask: 0x3fff}},
	}
}

func postRules() []dataplane.Rule {
	return []dataplane.Rule{
		{Matches: []dataplane.Match{dataplane.MatchMark{Value: 0x4000, Mask: 0x4000, Not: true}}, Action: dataplane.Return{}},
		{Matches: []dataplane.Match{dataplane.MatchMark{Value: 0x5, Mask: 0xffffffff}}, Action: dataplane.Return{}},
		{Matches: []dataplane.Match{dataplane.MatchMark{Mask: 0xff}}, Action: dataplane.SNATToNode{}},
		{Action: dataplane.SNATToNode{RandomPort: true}, Comment: "kubernetes service traffic requiring SNAT"},
	}
}

func filterRules(family dataplane.Family) []dataplane.Rule {
	ips, pairs := setNames(family)
	rules := []dataplane.Rule{
		{Matches: []dataplane.Match{dataplane.MatchState{States: "RELATED,ESTABLISHED"}}, Action: dataplane.Accept{}},
		{Matches: []dataplane.Match{dataplane.MatchState{States: "ESTABLISHED,NEW,INVALID", Not: true}}, Action: dataplane.Return{}},
		{Matches: []dataplane.Match{dataplane.MatchInput{Interface: "eth0"}}, Action: dataplane.Accept{}},
		{Matches: []dataplane.Match{dataplane.MatchInput{Interface: "cali+", Not: true}}, Action: dataplane.Accept{}},
		{Matches: []dataplane.Match{dataplane.MatchProtocol{Protocol: dataplane.TCP}}, Action: dataplane.Reject{With: dataplane.TCPReset}},
		{Matches: []dataplane.Match{dataplane.MatchProtocol{Protocol: dataplane.UDP}}, Action: dataplane.Reject{With: dataplane.PortUnreachable}},
		{Matches: []dataplane.Match{dataplane.MatchProtocol{Protocol: dataplane.SCTP}}, Action: dataplane.Drop{}},
		{Matches: []dataplane.Match{
			dataplane.MatchState{States: "NEW"}, dataplane.MatchSet{Set: pairs, Fields: "dst,dst"}, dataplane.MatchInput{Interface: "veth+"},
			dataplane.MatchSet{Set: ips, Fields: "dst"}, dataplane.MatchMark{Value: 0x4000, Mask: 0x4000}, dataplane.MatchProtocol{Protocol: dataplane.TCP},
		}, Action: dataplane.Reject{With: dataplane.TCPReset}, Comment: "everything; at once"},
		{Action: dataplane.Reject{}},
	}
	if family == dataplane.IPv4 {
		rules = append(rules, dataplane.Rule{
			Matches: []dataplane.Match{dataplane.MatchProtocol{Protocol: dataplane.SCTP}},
			Action:  dataplane.Reject{With: dataplane.ProtocolUnreachable},
		})
	}
	return rules
}

func audienceRules(family dataplane.Family) []dataplane.Rule {
	_, pairs := setNames(family)
	return []dataplane.Rule{{
		Matches: []dataplane.Match{dataplane.MatchSet{Set: pairs, Fields: "dst,dst"}},
		Action:  dataplane.SetMarkFrom{Set: pairs, Fields: "dst,dst"},
	}}
}
