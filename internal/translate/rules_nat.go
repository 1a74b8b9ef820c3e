package translate

import (
	"kube-ipvs-proxy/internal/dataplane"
)

// services decides, in PREROUTING and OUTPUT, what is to be masqueraded. Being nat, it sees the first packet of a
// connection only, before IPVS rewrites the destination.
func (r ruleBuilder) services() []dataplane.Rule {
	masq := dataplane.GoTo{Chain: chainMarkMasq}
	rules := []dataplane.Rule{
		// Most connections of a node are to no Service, and all that follows is only about those that are.
		rule("not to a Service", dataplane.Return{}, r.notIn(ServedIPs, toAddress)),
		// 127.0.0.1 is no source for another machine, but neither does IPVS route it anywhere.
		rule("loopback is not served", dataplane.Return{}, dataplane.MatchSource{Prefix: r.loopback()}),
	}
	// ClusterIPs first: they have the most connections. Likewise, in each rule the match comes first that costs least or fails most.
	rules = append(rules, r.clusterMasquerade()...)
	rules = append(rules, r.ownMasquerade(ClusterIP), r.leave(ClusterIP),
		// The endpoint may be on another node, and its reply has to come back this way. Under externalTrafficPolicy
		// Local it is on this node, and sees the client: those entries are in KUBE-EXTERNAL-IP-LOCAL instead.
		rule("masquerade to externalIPs", masq, r.in(ExternalIP, toAddressPort)),
		rule("load balancers", dataplane.GoTo{Chain: chainLoadBalancer}, r.in(LoadBalancer, toAddressPort)),
		// Not `addrtype LOCAL`: every ClusterIP is local too, so that one whose port is also somebody's NodePort would
		// be masqueraded (P17).
		rule("node ports", dataplane.GoTo{Chain: chainNodePort}, r.in(NodePortIPs, toAddress)),
	)
	return append(rules, r.ownMasquerade(LoadBalancerLocal), r.ownMasquerade(ExternalIPLocal),
		r.leave(LoadBalancer), r.leave(ExternalIP), r.leave(ExternalIPLocal))
}

// leave keeps other rules in nat from diverting what IPVS is to serve: a host port on all local addresses, for example. It
// has to be the last about a set, since nothing after it is reached. NodePorts are left to compete, as in kube-proxy.
func (r ruleBuilder) leave(set string) dataplane.Rule {
	return rule("leave to IPVS", dataplane.Accept{}, r.in(set, toAddressPort))
}

// clusterMasquerade: pods keep their address on the way to a ClusterIP, unless all is to be masqueraded. Others, who
// reach ClusterIPs by a route of their own making, do not, for the reply has to come back this way.
func (r ruleBuilder) clusterMasquerade() []dataplane.Rule {
	masq := dataplane.GoTo{Chain: chainMarkMasq}
	if r.masquerade.All {
		return []dataplane.Rule{rule("masquerade to ClusterIPs", masq, r.in(ClusterIP, toAddressPort))}
	}
	if notFromPods, ok := r.notFromPods(); ok {
		return []dataplane.Rule{
			rule("masquerade to ClusterIPs what is not from pods", masq, notFromPods, r.in(ClusterIP, toAddressPort)),
		}
	}
	return nil
}

// ownMasquerade: for what the node itself sends to an address on kube-ipvs0, the kernel takes that address as the source
// as well, since the destination is local. The endpoint's node has the same address, and would keep the reply (P19).
// Only the node that has it bound sends from it, so that both ends being virtual means traffic of our own. The sets left
// out (KUBE-EXTERNAL-IP, and load balancers under the policy Cluster) are masqueraded from any source. The rule for
// ClusterIPs is there even when pods are told apart by their CIDR, which may be wide enough to hold them.
func (r ruleBuilder) ownMasquerade(set string) dataplane.Rule {
	return rule("masquerade own traffic from virtual addresses",
		dataplane.GoTo{Chain: chainMarkMasq}, r.in(IPVSIPs, fromAddress), r.in(set, toAddressPort))
}

// loadBalancer: under externalTrafficPolicy Local the endpoint is on this node and sees the client.
func (r ruleBuilder) loadBalancer() []dataplane.Rule {
	return []dataplane.Rule{
		rule("keep the source address", dataplane.Return{}, r.in(LoadBalancerLocal, toAddressPort)),
		rule("masquerade", dataplane.GoTo{Chain: chainMarkMasq}),
	}
}

// nodePort is reached with an address that NodePorts are served on, so that the port is all that is left to look at.
func (r ruleBuilder) nodePort() []dataplane.Rule {
	var rules []dataplane.Rule
	for _, protocol := range protocols() {
		all, local := nodePortSets(protocol)
		fields := toPort
		if protocol == dataplane.SCTP {
			fields = toAddressPort
		}
		match := dataplane.MatchProtocol{Protocol: protocol}
		rules = append(rules,
			rule("keep the source address", dataplane.Return{}, match, r.in(local, fields)),
			rule("masquerade", dataplane.GoTo{Chain: chainMarkMasq}, match, r.in(all, fields)))
	}
	return rules
}

func (r ruleBuilder) markMasq() []dataplane.Rule {
	// Sets the bit and leaves the others alone: they belong to somebody else.
	return []dataplane.Rule{rule("", dataplane.SetMark{Value: r.mark(), Mask: r.mark()})}
}

// postrouting sees packets after IPVS, with the endpoint as destination.
func (r ruleBuilder) postrouting() []dataplane.Rule {
	return []dataplane.Rule{
		// An endpoint that is sent its own packet would answer itself directly, past IPVS.
		rule("masquerade hairpin traffic", dataplane.SNATToNode{}, r.in(LoopBack, toFrom)),
		rule("", dataplane.Return{}, r.marked(true)),
		// The mark is taken off, so that a packet that passes the stack again, in a tunnel, is not masqueraded twice.
		rule("", dataplane.SetMark{Value: r.mark()}),
		rule("masquerade service traffic", dataplane.SNATToNode{RandomPort: true}),
	}
}
