package service

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// thisNode is the node "here"; others are "there", in another zone.
func thisNode() Node { return Node{Name: "here", Zone: "za"} }

// endpointOf builds an endpoint from a compact description: an address suffix, then words. Node and zone are "there"
// and "zb" unless the word "here" is among them; the conditions default to ready and serving.
func endpointOf(t testing.TB, description string) Endpoint {
	t.Helper()
	words := strings.Fields(description)
	e := Endpoint{
		Addr: netip.MustParseAddr("10.1.0." + words[0]), Node: "there", Zone: "zb", Ready: true, Serving: true,
	}
	for _, word := range words[1:] {
		switch name, value, _ := strings.Cut(word, "="); name {
		case "here":
			e.Node, e.Zone = "here", "za"
		case "unready":
			e.Ready, e.Serving = false, false
		case "draining": // terminating and still serving
			e.Ready, e.Terminating = false, true
		case "dying": // terminating and not serving any more
			e.Ready, e.Serving, e.Terminating = false, false, true
		case "zone":
			e.ForZones = strings.Split(value, ",")
		case "node":
			e.ForNodes = strings.Split(value, ",")
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	return e
}

func suffixes(endpoints []PortEndpoint) string {
	var out []string
	for _, e := range endpoints {
		out = append(out, strings.TrimPrefix(e.Addr.String(), "10.1.0."))
	}
	return strings.Join(out, " ")
}

type selectCase struct {
	name      string
	policy    Policy
	node      Node
	endpoints []string
	internal  string
	external  string
	shortcut  string
	nowhere   bool
}

func intLocal() Policy  { return Policy{InternalLocal: true} }
func extLocal() Policy  { return Policy{ExternalLocal: true} }
func bothLocal() Policy { return Policy{InternalLocal: true, ExternalLocal: true} }

func readinessCases() []selectCase {
	return []selectCase{
		{name: "none at all", nowhere: true},
		{name: "B22 unready gets nothing", endpoints: []string{"1", "2 unready"}, internal: "1", external: "1", shortcut: "1"},
		{name: "B27 only unready", endpoints: []string{"1 unready"}, nowhere: true},
		{name: "B27 only dying", endpoints: []string{"1 dying"}, nowhere: true},
		{name: "B22 publishNotReady", policy: Policy{PublishNotReady: true},
			endpoints: []string{"1", "2 unready", "3 dying"}, internal: "1 2 3", external: "1 2 3", shortcut: "1 2 3"},
		{name: "B22 draining unused while one is ready", endpoints: []string{"1 draining", "2"},
			internal: "2", external: "2", shortcut: "2"},
		{name: "B25 draining when nothing is ready", endpoints: []string{"1 draining", "2 unready", "3 dying", "4 draining"},
			internal: "1 4", external: "1 4", shortcut: "1 4"},
		{name: "B25 draining ignores hints", endpoints: []string{"1 draining zone=za", "2 draining zone=zb"},
			internal: "1 2", external: "1 2", shortcut: "1 2"},
	}
}

func policyCases() []selectCase {
	return []selectCase{
		{name: "B23 iTP Local", policy: intLocal(), endpoints: []string{"1 here", "2"},
			internal: "1", external: "1 2", shortcut: "1 2"},
		{name: "B24 eTP Local", policy: extLocal(), endpoints: []string{"1 here", "2"},
			internal: "1 2", external: "1", shortcut: "1 2"},
		{name: "both Local", policy: bothLocal(), endpoints: []string{"1 here", "2"},
			internal: "1", external: "1", shortcut: "1 2"},
		{name: "P26 iTP Local, only remote", policy: intLocal(), endpoints: []string{"2"}, external: "2", shortcut: "2"},
		{name: "P26 eTP Local, only remote", policy: extLocal(), endpoints: []string{"2"}, internal: "2", shortcut: "2"},
		{name: "P26 eTP Local, only remote draining", policy: extLocal(), endpoints: []string{"2 draining", "3 here unready"},
			internal: "2", shortcut: "2"},
		{name: "P26 both Local, none anywhere", policy: bothLocal(), endpoints: []string{"2 unready", "1 here dying"}, nowhere: true},
		{name: "B25 Local falls back by itself", policy: bothLocal(), endpoints: []string{"1 here draining", "2"},
			internal: "1", external: "1", shortcut: "2"},
		{name: "B25 Local ready beats Local draining", policy: bothLocal(), endpoints: []string{"1 here draining", "2 here", "3"},
			internal: "2", external: "2", shortcut: "2 3"},
		{name: "Local with publishNotReady", policy: Policy{ExternalLocal: true, PublishNotReady: true},
			endpoints: []string{"1 here unready", "2"}, internal: "1 2", external: "1", shortcut: "1 2"},
		{name: "a node without a name has no local endpoints", policy: bothLocal(), node: Node{Zone: "za"},
			endpoints: []string{"1 here"}, shortcut: "1"},
	}
}

func topologyCases() []selectCase {
	all := func(name string, want string, endpoints ...string) selectCase {
		return selectCase{name: "B26 " + name, endpoints: endpoints, internal: want, external: want, shortcut: want}
	}
	withNode := func(c selectCase, node Node) selectCase { c.node = node; return c }
	withPolicy := func(c selectCase, policy Policy, internal string) selectCase {
		c.policy, c.internal = policy, internal
		return c
	}
	return []selectCase{
		all("zone", "1", "1 zone=za", "2 zone=zb"),
		all("several zones in one hint", "1 2", "1 zone=za", "2 zone=zb,za", "3 zone=zb"),
		all("one ready endpoint without hints", "1 2", "1 zone=za", "2"),
		all("an unready endpoint without hints does not matter", "1", "1 zone=za", "2 zone=zb", "3 unready"),
		all("a draining endpoint without hints does not matter", "1", "1 zone=za", "2 zone=zb", "3 draining"),
		all("none for this zone", "1 2", "1 zone=zb", "2 zone=zc"),
		all("only an unready one for this zone", "2 3", "1 unready zone=za", "2 zone=zb", "3 zone=zc"),
		withNode(all("node without zone", "1 2", "1 zone=za", "2 zone=zb"), Node{Name: "here"}),
		all("node before zone", "1", "1 node=here zone=za", "2 node=there zone=za"),
		all("none for this node: zone", "1 2", "1 node=x zone=za", "2 node=y zone=za", "3 node=z zone=zb"),
		all("one without node hint: zone", "1 2", "1 node=here zone=za", "2 zone=za", "3 node=z zone=zb"),
		all("none for this node nor zone: everyone", "1 2", "1 node=x zone=zb", "2 node=y zone=zb"),
		withPolicy(all("Local ignores hints", "2", "1 here zone=zb", "2 zone=za"), intLocal(), "1"),
	}
}

func TestSelect(t *testing.T) {
	for _, c := range slices.Concat(readinessCases(), policyCases(), topologyCases()) {
		t.Run(c.name, func(t *testing.T) {
			node := thisNode()
			if c.node.Zone+c.node.Name != "" {
				node = c.node
			}
			got := Select(portEndpoints(t, c.endpoints), c.policy, node)
			for _, check := range []struct{ audience, got, want string }{
				{"internal", suffixes(got.Internal), c.internal},
				{"external", suffixes(got.External), c.external},
				{"shortcut", suffixes(got.Shortcut), c.shortcut},
			} {
				if check.got != check.want {
					t.Errorf("%s clients get %q, want %q", check.audience, check.got, check.want)
				}
			}
			if got.Anywhere == c.nowhere {
				t.Errorf("anywhere = %v", got.Anywhere)
			}
		})
	}
}

func portEndpoints(t testing.TB, descriptions []string) []PortEndpoint {
	var out []PortEndpoint
	for _, d := range descriptions {
		e := endpointOf(t, d)
		out = append(out, PortEndpoint{&e, 80})
	}
	return out
}

func TestLocalCounts(t *testing.T) {
	for _, c := range []struct {
		name               string
		policy             Policy
		endpoints          []string
		internal, external bool
		ready              int
	}{
		{name: "B41 only terminating ones", policy: extLocal(), endpoints: []string{"1 here draining", "2"}},
		{name: "B41 two ready", policy: extLocal(), endpoints: []string{"1 here", "2 here", "3", "4 here unready"}, ready: 2},
		{name: "P26 none here", policy: bothLocal(), endpoints: []string{"3"}, internal: true, external: true},
		{name: "P26 none anywhere", policy: bothLocal(), endpoints: []string{"3 unready"}},
		{name: "Cluster", endpoints: []string{"3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Slice{Ports: []SlicePort{{Protocol: dataplane.TCP, Port: 8080}, {Name: "b", Protocol: dataplane.TCP, Port: 8081}}}
			for _, d := range c.endpoints {
				s.Endpoints = append(s.Endpoints, endpointOf(t, d))
			}
			ports := []Port{{Protocol: dataplane.TCP, Port: 80}, {Name: "b", Protocol: dataplane.TCP, Port: 81}}
			view := NewView(Service{Ports: ports, Policy: c.policy}, s)
			internal, external := NoLocal(view, Facts{Node: thisNode(), Families: dataplane.Families()})
			if internal != c.internal || external != c.external {
				t.Errorf("no local endpoints: internal %v, external %v", internal, external)
			}
			if got := LocalReady(view, dataplane.IPv4, thisNode()); got != c.ready {
				t.Errorf("%d local ready endpoints, want %d", got, c.ready)
			}
		})
	}
}
