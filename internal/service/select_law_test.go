package service

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// trial is one combination of everything that matters, with the answers.
type trial struct {
	view      View
	endpoints []PortEndpoint
	policy    Policy
	node      Node
	got       Selection
}

func newTrial(endpoints []Endpoint, policy Policy, node Node) trial {
	view := NewView(Service{Ports: []Port{{Protocol: dataplane.TCP, Port: 80}}, Policy: policy},
		Slice{Ports: []SlicePort{{Protocol: dataplane.TCP, Port: 8080}}, Endpoints: endpoints})
	listed := view.Endpoints(view.Ports[0])
	return trial{view, listed, policy, node, Select(listed, policy, node)}
}

// The words of the documents, about one endpoint.

// ready: discovery/v1 EndpointConditions.ready; core/v1 ServiceSpec.publishNotReadyAddresses.
func (c trial) ready(e PortEndpoint) bool { return e.Ready || c.policy.PublishNotReady }

// standIn: KEP-1669 "Proposal", terminating and still serving.
func (c trial) standIn(e PortEndpoint) bool { return e.Terminating && e.Serving && !c.ready(e) }

// local: core/v1 "node-local endpoints", discovery/v1 Endpoint.nodeName.
func (c trial) local(e PortEndpoint) bool { return c.node.Name != "" && e.Node == c.node.Name }

func (c trial) forThisNode(e PortEndpoint) bool { return slices.Contains(e.ForNodes, c.node.Name) }
func (c trial) forThisZone(e PortEndpoint) bool { return slices.Contains(e.ForZones, c.node.Zone) }

// only returns the endpoints for which all hold.
func (c trial) only(all ...func(PortEndpoint) bool) []PortEndpoint {
	var out []PortEndpoint
	for _, e := range c.endpoints {
		if !slices.ContainsFunc(all, func(holds func(PortEndpoint) bool) bool { return !holds(e) }) {
			out = append(out, e)
		}
	}
	return out
}

func (c trial) some(all ...func(PortEndpoint) bool) bool { return len(c.only(all...)) > 0 }

// nodeHinted, zoneHinted: KEP-3015 "Addition of PreferSameNode", KEP-2433 "Kube-Proxy": all have hints, one has one for us.
func (c trial) nodeHinted() bool {
	return !c.some(c.ready, func(e PortEndpoint) bool { return len(e.ForNodes) == 0 }) && c.some(c.ready, c.forThisNode)
}

func (c trial) zoneHinted() bool {
	return c.node.Zone != "" && !c.some(c.ready, func(e PortEndpoint) bool { return len(e.ForZones) == 0 }) && c.some(c.ready, c.forThisZone)
}

func only(got, allowed []PortEndpoint) bool {
	return !slices.ContainsFunc(got, func(e PortEndpoint) bool { return !slices.Contains(allowed, e) })
}

// law is one sentence of the documents; it is to hold for every combination.
type law struct {
	source string
	holds  func(c trial) bool
}

// clusterLaws are about who serves under the policy Cluster. Clients inside the cluster are always under it at external
// addresses (core/v1 ServiceSpec.externalTrafficPolicy), so their list is the one to look at.
func clusterLaws() []law {
	return []law{
		{"KEP-1669, only some endpoints terminating, Cluster: all traffic to the ready ones", func(c trial) bool {
			return !c.some(c.ready) || only(c.got.Shortcut, c.only(c.ready))
		}},
		{"KEP-1669, all endpoints terminating, Cluster: any terminating endpoint that is serving", func(c trial) bool {
			return c.some(c.ready) || slices.Equal(c.got.Shortcut, c.only(c.standIn))
		}},
		{"KEP-3015, PreferSameNode, first step: those for this node", func(c trial) bool {
			return !c.some(c.ready) || !c.nodeHinted() || slices.Equal(c.got.Shortcut, c.only(c.ready, c.forThisNode))
		}},
		{"KEP-3015, PreferSameNode, second step; KEP-2433, Kube-Proxy: those for this zone", func(c trial) bool {
			return !c.some(c.ready) || c.nodeHinted() || !c.zoneHinted() || slices.Equal(c.got.Shortcut, c.only(c.ready, c.forThisZone))
		}},
		{"KEP-3015, PreferSameNode, third step: all", func(c trial) bool {
			return !c.some(c.ready) || c.nodeHinted() || c.zoneHinted() || slices.Equal(c.got.Shortcut, c.only(c.ready))
		}},
		{"kube-proxy, hasEndpoints: somebody can serve somewhere", func(c trial) bool {
			return c.got.Anywhere == (c.some(c.ready) || c.some(c.standIn)) && c.got.Anywhere == (len(c.got.Shortcut) > 0)
		}},
		{"KEP-2086, Cluster is the default for internal traffic", func(c trial) bool {
			return c.policy.InternalLocal || slices.Equal(c.got.Internal, c.got.Shortcut)
		}},
		{"core/v1, externalTrafficPolicy Cluster: one behaviour for everybody", func(c trial) bool {
			return c.policy.ExternalLocal || slices.Equal(c.got.External, c.got.Shortcut)
		}},
	}
}

// localLaws are about who serves under the policy Local, internal and external alike.
func localLaws() []law {
	local := func(holds func(c trial, got []PortEndpoint) bool) func(trial) bool {
		return func(c trial) bool {
			return (!c.policy.InternalLocal || holds(c, c.got.Internal)) && (!c.policy.ExternalLocal || holds(c, c.got.External))
		}
	}
	return []law{
		{"KEP-2086, core/v1 externalTrafficPolicy: node-local endpoints only", local(func(c trial, got []PortEndpoint) bool {
			return only(got, c.only(c.local))
		})},
		{"KEP-1669, only some endpoints terminating on a node; KEP-2086, hints do not count: the ready ones there", local(func(c trial, got []PortEndpoint) bool {
			return !c.some(c.local, c.ready) || slices.Equal(got, c.only(c.local, c.ready))
		})},
		{"KEP-1669, all endpoints terminating on a node: those that are serving there", local(func(c trial, got []PortEndpoint) bool {
			return c.some(c.local, c.ready) || slices.Equal(got, c.only(c.local, c.standIn))
		})},
	}
}

// countLaws are about what the node tells of itself.
func countLaws() []law {
	return []law{
		{"KEP-1669, kube-proxy: terminating endpoints do not make a node healthy, ready ones do", func(c trial) bool {
			return LocalReady(c.view, dataplane.IPv4, c.node) == len(c.only(c.local, c.ready)) && LocalReady(c.view, dataplane.IPv6, c.node) == 0
		}},
		{"KEP-2086, Monitoring Requirements: Services that are dropped here on purpose", func(c trial) bool {
			internal, external := NoLocal(c.view, Facts{Node: c.node, Families: dataplane.Families()})
			dropped := (c.some(c.ready) || c.some(c.standIn)) && !c.some(c.local, c.ready) && !c.some(c.local, c.standIn)
			return internal == (c.policy.InternalLocal && dropped) && external == (c.policy.ExternalLocal && dropped)
		}},
	}
}

// invariances say what must not matter, by asking again with that changed.
func invariances() []law {
	same := func(a, b Selection) bool {
		return slices.Equal(a.Internal, b.Internal) && slices.Equal(a.External, b.External) && slices.Equal(a.Shortcut, b.Shortcut) && a.Anywhere == b.Anywhere
	}
	return []law{
		{"KEP-2086, Design Details: independent from externalTrafficPolicy", func(c trial) bool {
			policy := c.policy
			policy.ExternalLocal = !policy.ExternalLocal
			other := Select(c.endpoints, policy, c.node)
			return slices.Equal(other.Internal, c.got.Internal) && slices.Equal(other.Shortcut, c.got.Shortcut)
		}},
		{"KEP-2086, Design Details: only applies to internal traffic", func(c trial) bool {
			policy := c.policy
			policy.InternalLocal = !policy.InternalLocal
			other := Select(c.endpoints, policy, c.node)
			return slices.Equal(other.External, c.got.External) && slices.Equal(other.Shortcut, c.got.Shortcut)
		}},
		{"KEP-4444, Changes within kube-proxy: trafficDistribution is not for the proxy", func(c trial) bool {
			policy := c.policy
			policy.Distribution = "PreferSameNode"
			return same(Select(c.endpoints, policy, c.node), c.got)
		}},
		{"KEP-1669, Handling terminating endpoints that are not ready: as if they were not there", func(c trial) bool {
			useful := c.only(func(e PortEndpoint) bool { return c.ready(e) || c.standIn(e) })
			return same(Select(useful, c.policy, c.node), c.got)
		}},
	}
}

// kinds returns endpoints in every combination of the given conditions, places and hints. The nodes are n1 in z1 and
// elsewhere; which zone an endpoint itself is in means nothing to a proxy.
func kinds(conditions [][3]bool, nodes []string, forNodes, forZones [][]string) []Endpoint {
	var out []Endpoint
	for _, condition := range conditions {
		for _, node := range nodes {
			for _, forNode := range forNodes {
				for _, forZone := range forZones {
					out = append(out, Endpoint{Node: node, Ready: condition[0], Serving: condition[1], Terminating: condition[2], ForNodes: forNode, ForZones: forZone})
				}
			}
		}
	}
	return out
}

// TestSelectionObeysTheDocuments asks for every pair of endpoints of all kinds, and every three of the kinds that differ
// most; on a node of which only the name or only the zone is known, for single endpoints of all kinds and pairs of these.
func TestSelectionObeysTheDocuments(t *testing.T) {
	var everything [][3]bool
	for i := range 8 {
		everything = append(everything, [3]bool{i&1 > 0, i&2 > 0, i&4 > 0})
	}
	all := kinds(everything, []string{"n1", "n2", ""}, [][]string{nil, {"n1"}, {"n2"}}, [][]string{nil, {"z1"}, {"z2"}})
	few := kinds([][3]bool{{true, true, false}, {false, true, true}}, []string{"n1", "n2"}, [][]string{nil, {"n1"}, {"n2", "n3"}}, [][]string{nil, {"z1"}, {"z2", "z3"}})
	known, unknown := []Node{{Name: "n1", Zone: "z1"}}, []Node{{Name: "n1"}, {Zone: "z1"}}
	trials := askAll(t, known, few, 0) + askAll(t, known, all, 1) + askAll(t, known, all, 2) + askAll(t, known, few, 3) +
		askAll(t, unknown, all, 1) + askAll(t, unknown, few, 2)
	t.Logf("%d combinations", trials)
}

// combinations returns all ways to take a number of endpoints, the same kind more than once as well, in no other order.
func combinations(kinds []Endpoint, number int) [][]Endpoint {
	if number == 0 {
		return [][]Endpoint{nil}
	}
	var out [][]Endpoint
	for i, e := range kinds {
		e.Addr = netip.AddrFrom4([4]byte{10, 0, 0, byte(number)})
		for _, rest := range combinations(kinds[i:], number-1) {
			out = append(out, append(rest, e))
		}
	}
	return out
}

// askAll asks about each combination under every policy on each node, and returns how often.
func askAll(t *testing.T, nodes []Node, kinds []Endpoint, number int) int {
	t.Helper()
	asked := 0
	laws := slices.Concat(clusterLaws(), localLaws(), countLaws(), invariances())
	for _, endpoints := range combinations(kinds, number) {
		for i := range 8 {
			policy := Policy{InternalLocal: i&1 > 0, ExternalLocal: i&2 > 0, PublishNotReady: i&4 > 0}
			for _, node := range nodes {
				check(t, laws, newTrial(endpoints, policy, node))
				asked++
			}
		}
	}
	return asked
}

func check(t *testing.T, laws []law, c trial) {
	t.Helper()
	for _, law := range laws {
		if !law.holds(c) {
			text := fmt.Sprintf("against %s:\n%+v on %+v", law.source, c.policy, c.node)
			for _, e := range c.endpoints {
				text += fmt.Sprintf("\n%+v", *e.Endpoint)
			}
			t.Fatalf("%s\nClusterIP %d, outside %d, inside %d, anywhere %v", text, len(c.got.Internal), len(c.got.External), len(c.got.Shortcut), c.got.Anywhere)
		}
	}
}
