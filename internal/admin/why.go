package admin

import (
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// Candidate is an endpoint of a port, and what becomes of it.
type Candidate struct {
	Address netip.AddrPort `json:"address"`
	Place
	Chosen bool `json:"chosen"`
	// Because says why it is not chosen or, if it is, what is remarkable about that.
	Because string `json:"because,omitempty"`
}

// choice is how endpoints are chosen for one audience.
type choice struct {
	family dataplane.Family
	policy service.Policy
	local  bool // the traffic policy that counts is Local
	node   service.Node
}

// candidates says of each endpoint of a port, of both families, whether it is chosen, and why not.
func (c choice) candidates(endpoints []service.PortEndpoint) []Candidate {
	policy := c.policy
	policy.InternalLocal = c.local
	selected := service.Select(service.OfFamily(endpoints, c.family), policy, c.node).Internal
	out := make([]Candidate, len(endpoints))
	for i, e := range endpoints {
		out[i] = Candidate{Address: e.AddrPort(), Place: Place{e.Node, e.Zone}, Chosen: slices.Contains(selected, e)}
		if out[i].Chosen {
			out[i].Because = c.remark(e)
		} else {
			out[i].Because = c.reason(e, selected)
		}
	}
	return out
}

// remark says what is remarkable about an endpoint that is chosen.
func (c choice) remark(e service.PortEndpoint) string {
	switch {
	case !c.ready(e):
		return "terminating, in place of ready ones"
	case !e.Ready:
		return "not ready, published nevertheless"
	}
	return ""
}

// reason says why an endpoint is none of the selected ones.
func (c choice) reason(e service.PortEndpoint, selected []service.PortEndpoint) string {
	switch {
	case dataplane.FamilyOf(e.Addr) != c.family:
		return "its address is of " + dataplane.FamilyOf(e.Addr).String()
	case c.local && e.Node == "":
		return "no node is known for it; policy Local"
	case c.local && !e.IsOn(c.node):
		return "not on this node; policy Local"
	case c.ready(e):
		return c.hint(e, selected)
	case e.Terminating && e.Serving:
		return "terminating, and others are ready"
	case e.Terminating:
		return "terminating, and serves no more"
	}
	return "not ready"
}

// hint says which hints led to others. Those for nodes count first, if they count at all.
func (c choice) hint(e service.PortEndpoint, selected []service.PortEndpoint) string {
	forNode := func(s service.PortEndpoint) bool { return slices.Contains(s.ForNodes, c.node.Name) }
	if len(e.ForNodes) > 0 && len(selected) > 0 && !slices.ContainsFunc(selected, func(s service.PortEndpoint) bool { return !forNode(s) }) {
		return "hints give it to node " + strings.Join(e.ForNodes, ", ")
	}
	return "hints give it to zone " + strings.Join(e.ForZones, ", ")
}

func (c choice) ready(e service.PortEndpoint) bool { return e.Ready || c.policy.PublishNotReady }
