package translate

import (
	"kube-ipvs-proxy/internal/dataplane"
)

// forward lets service traffic through a FORWARD chain that drops by default (P28). Replies of endpoints pass here, as
// does everything that is not bound to an address of this node. INVALID packets are not touched (B53).
func (r ruleBuilder) forward() []dataplane.Rule {
	return []dataplane.Rule{
		rule("masqueraded service traffic", dataplane.Accept{}, r.marked(false)),
		rule("established connections", dataplane.Accept{}, dataplane.MatchState{States: "RELATED,ESTABLISHED"}),
	}
}

// healthCheck lets load balancers reach the healthCheckNodePorts.
func (r ruleBuilder) healthCheck() []dataplane.Rule {
	return []dataplane.Rule{
		rule("health check node ports", dataplane.Accept{},
			dataplane.MatchProtocol{Protocol: dataplane.TCP}, r.in(HealthCheckNodePort, toPort)),
	}
}

// proxyFirewall limits load-balancer IPs to spec.loadBalancerSourceRanges. It is passed in INPUT by what is bound here,
// in FORWARD by what is not.
func (r ruleBuilder) proxyFirewall() []dataplane.Rule {
	return []dataplane.Rule{r.checkSourceRanges()}
}

func (r ruleBuilder) checkSourceRanges() dataplane.Rule {
	return rule("loadBalancerSourceRanges", dataplane.GoTo{Chain: chainSourceRanges}, r.in(LoadBalancerFW, toAddressPort))
}

// sourceRanges lets pass who is allowed and drops the rest. Where one of its sets cannot be had, nobody is allowed by it:
// what is limited is better closed than open.
func (r ruleBuilder) sourceRanges() []dataplane.Rule {
	return []dataplane.Rule{
		rule("allowed networks", dataplane.Return{}, r.in(LoadBalancerSourceCIDR, toFrom)),
		// The node, if it is inside one of them: what it sends has the load-balancer IP as source.
		rule("the allowed node", dataplane.Return{}, r.in(LoadBalancerSourceIP, toFrom)),
		rule("not in loadBalancerSourceRanges", dataplane.Drop{}),
	}
}

// ipvsFilter is the first that INPUT passes, ahead of IPVS at LOCAL_IN. It refuses what no endpoint serves and what is
// no port of a Service at all. Only new connections are its business: established ones may still be served by real
// servers that drain, and INVALID packets are left to the kernel (P16, B53). ICMP passes, since no rule that ends a
// packet's way here looks at anything but TCP, UDP and SCTP (a set of addresses and ports is not matched by others).
func (r ruleBuilder) ipvsFilter() []dataplane.Rule {
	rules := []dataplane.Rule{
		rule("only new connections", dataplane.Return{}, dataplane.MatchState{States: "NEW", Not: true}),
		// Most are to a ClusterIP that is served, and what follows is about all the others.
		rule("served ClusterIPs", dataplane.Return{}, r.in(ClusterIP, toAddressPort), r.notIn(NoEndpoints, toAddressPort), r.notIn(NoLocal, toAddressPort)),
		// Whoever may not use the load balancer is not told whether it has endpoints.
		r.checkSourceRanges(),
	}
	rules = append(rules, r.refuse("no endpoints", r.in(NoEndpoints, toAddressPort))...)
	if fromPods, ok := r.fromPods(); ok {
		rules = append(rules, rule("pods are served by every node", dataplane.Return{}, fromPods, r.in(InternalMark, toAddressPort)))
	}
	rules = append(rules,
		// An answer would end the client's attempt, though the load balancer may find the right node next time (P26).
		rule("no endpoints on this node", dataplane.Drop{}, r.in(NoLocal, toAddressPort)))
	spared := []string{SetName(r.family, HealthCheckNodePort)}
	for _, set := range []string{LoadBalancer, ClusterIP, ExternalIP, ExternalIPLocal} {
		spared = append(spared, SetName(r.family, set))
		rules = append(rules, rule("service ports", dataplane.Return{}, r.in(set, toAddressPort)))
	}
	rules = append(rules,
		rule("health check node ports", dataplane.Return{},
			dataplane.MatchProtocol{Protocol: dataplane.TCP}, r.in(HealthCheckNodePort, toPort)))
	// Whatever listens on all of the node's addresses also listens on the virtual ones. NodePorts are exempt because the
	// addresses they are on are never bound, and so never in this set.
	refusals := r.refuse("not a service port", r.in(IPVSIPs, toAddress))
	for i := range refusals {
		refusals[i].Spares = spared
	}
	return append(rules, refusals...)
}

// refuse answers what matches in the way that makes a client of the protocol give up at once (P27). SCTP has no good one
// on IPv6, where the kernel cannot be asked for "protocol unreachable".
func (r ruleBuilder) refuse(comment string, match dataplane.Match) []dataplane.Rule {
	var rules []dataplane.Rule
	for _, protocol := range protocols() {
		with := dataplane.PortUnreachable
		switch {
		case protocol == dataplane.TCP:
			with = dataplane.TCPReset
		case protocol == dataplane.SCTP && r.family == dataplane.IPv4:
			with = dataplane.ProtocolUnreachable
		}
		rules = append(rules,
			rule(comment, dataplane.Reject{With: with}, dataplane.MatchProtocol{Protocol: protocol}, match))
	}
	return rules
}
