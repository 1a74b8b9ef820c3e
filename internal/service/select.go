package service

import (
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
)

// Selection says which endpoints of one port, in one family, serve whom on this node. The lists keep the order of the
// endpoints they were selected from.
type Selection struct {
	// Internal serve clients of the ClusterIP, under internalTrafficPolicy.
	Internal []PortEndpoint
	// External serve clients outside the cluster, of externalIPs, load-balancer IPs and NodePorts, under
	// externalTrafficPolicy.
	External []PortEndpoint
	// Shortcut serve clients inside the cluster, this node's Pods and the node itself, of externalIPs, load-balancer
	// IPs and NodePorts: the policy Cluster holds for them whatever externalTrafficPolicy says.
	Shortcut []PortEndpoint
	// Anywhere says that an endpoint somewhere in the cluster could serve. If so, a client whose list is empty is
	// dropped, because another node would have served it; if not, it is refused.
	Anywhere bool
}

// Select chooses among the endpoints of one port and one family, as View.Endpoints and OfFamily return them.
//
// Ready endpoints serve; only when there is none do endpoints that are terminating but still serving (KEP-1669). The
// policies Cluster and Local fall back apart from each other. Topology hints narrow the policy Cluster only: to this
// node if every ready endpoint has hints for nodes and one of them is for this one, else to this zone by the same rule,
// else not at all. Hints are all that counts here: spec.trafficDistribution and the topology annotation tell whoever makes
// the slices, the EndpointSlice controller or package source/manifests, which hints to give.
func Select(endpoints []PortEndpoint, policy Policy, node Node) Selection {
	cluster := nearest(usable(endpoints, policy), policy, node)
	selection := Selection{Internal: cluster, External: cluster, Shortcut: cluster, Anywhere: len(cluster) > 0}
	if policy.InternalLocal || policy.ExternalLocal {
		local := usable(filter(endpoints, func(e PortEndpoint) bool { return e.IsOn(node) }), policy)
		if policy.InternalLocal {
			selection.Internal = local
		}
		if policy.ExternalLocal {
			selection.External = local
		}
	}
	return selection
}

// NoLocal reports whether clients of a Service's ClusterIP (internal), or those from outside (external), find no
// endpoint on this node under the policy Local although there are some elsewhere, for any port and family.
func NoLocal(view View, facts Facts) (internal, external bool) {
	if !view.Policy.InternalLocal && !view.Policy.ExternalLocal {
		return false, false
	}
	for _, port := range view.Ports {
		endpoints := view.Endpoints(port)
		for _, family := range facts.Families {
			s := Select(OfFamily(endpoints, family), view.Policy, facts.Node)
			internal = internal || s.Anywhere && len(s.Internal) == 0
			external = external || s.Anywhere && len(s.External) == 0
		}
	}
	return internal, external
}

// LocalReady counts the ready endpoints of a Service on this node by their addresses of one family: what its
// healthCheckNodePort answers. Endpoints that only stand in for ready ones, because they are terminating and still serve,
// do not count (KEP-1669); under publishNotReadyAddresses all are ready.
func LocalReady(view View, family dataplane.Family, node Node) int {
	addresses := map[netip.Addr]struct{}{}
	for _, port := range view.Ports {
		for _, e := range OfFamily(view.Endpoints(port), family) {
			if e.IsOn(node) && e.ready(view.Policy) {
				addresses[e.Addr] = struct{}{}
			}
		}
	}
	return len(addresses)
}

// IsOn reports whether the endpoint is on the node.
func (e Endpoint) IsOn(node Node) bool { return e.Node != "" && e.Node == node.Name }

// ready reports whether the endpoint gets traffic as a matter of course. What publishNotReadyAddresses asks for, the
// cluster's controllers write into their slices already, but not whoever writes slices by hand.
func (e Endpoint) ready(policy Policy) bool { return e.Ready || policy.PublishNotReady }

// usable returns the ready endpoints or, if there is none, those that are terminating and still serving.
func usable(endpoints []PortEndpoint, policy Policy) []PortEndpoint {
	if ready := filter(endpoints, func(e PortEndpoint) bool { return e.ready(policy) }); len(ready) > 0 {
		return ready
	}
	return filter(endpoints, func(e PortEndpoint) bool { return e.Serving && e.Terminating })
}

// nearest narrows usable endpoints to those that the hints prefer for the node. Terminating endpoints that stand in for
// ready ones are not narrowed: their hints are no longer kept up to date.
func nearest(endpoints []PortEndpoint, policy Policy, node Node) []PortEndpoint {
	if len(endpoints) == 0 || !endpoints[0].ready(policy) {
		return endpoints
	}
	if hinted := hintedFor(endpoints, node.Name, func(e PortEndpoint) []string { return e.ForNodes }); hinted != nil {
		return hinted
	}
	if hinted := hintedFor(endpoints, node.Zone, func(e PortEndpoint) []string { return e.ForZones }); hinted != nil {
		return hinted
	}
	return endpoints
}

// hintedFor returns the endpoints with a hint for the place, or nil if there is none or if any endpoint has no hints:
// then the hints cannot be trusted to spread the load.
func hintedFor(endpoints []PortEndpoint, place string, hints func(PortEndpoint) []string) []PortEndpoint {
	if place == "" || slices.ContainsFunc(endpoints, func(e PortEndpoint) bool { return len(hints(e)) == 0 }) {
		return nil
	}
	return filter(endpoints, func(e PortEndpoint) bool { return slices.Contains(hints(e), place) })
}

// filter returns the endpoints for which keep holds: the list itself if all, nil if none.
func filter(endpoints []PortEndpoint, keep func(PortEndpoint) bool) []PortEndpoint {
	kept := 0
	for _, e := range endpoints {
		if keep(e) {
			kept++
		}
	}
	if kept == 0 {
		return nil
	}
	if kept == len(endpoints) {
		return endpoints
	}
	out := make([]PortEndpoint, 0, kept)
	for _, e := range endpoints {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}
