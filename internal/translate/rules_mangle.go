package translate

import (
	"kube-ipvs-proxy/internal/dataplane"
)

// internalMark marks what pods and the node itself send to the addresses and ports of Services with externalTrafficPolicy
// Local, so that IPVS finds the virtual server with the endpoints of the whole cluster. It is passed in INPUT and OUTPUT,
// before IPVS: what is merely forwarded pays nothing.
func (r ruleBuilder) internalMark() []dataplane.Rule {
	set := dataplane.SetMarkFrom{Set: SetName(r.family, InternalMark), Fields: toAddressPort}
	rules := []dataplane.Rule{
		rule("not for clients inside alone", dataplane.Return{}, r.notIn(InternalMark, toAddressPort)),
		rule("from this node", set, r.in(InternalMark, toAddressPort), dataplane.MatchLocalSource{}),
	}
	if fromPods, ok := r.fromPods(); ok {
		rules = append(rules, rule("from pods", set, r.in(InternalMark, toAddressPort), fromPods))
	}
	return rules
}
