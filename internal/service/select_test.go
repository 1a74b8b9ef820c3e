package service

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// endpointOf builds an endpoint from a compact description: an address suffix, then words. Node and zone are "there"
// and "zb" unless the word "here" is among them; the conditions default to ready and serving.
func endpointOf(t testing.TB, description string) Endpoint {
	t.Helper()
	words := strings.Fields(description)
	e := Endpoint{
		Addr: netip.MustParseAddr("10.1.0." + words[0]), Node: "there", Zone: "zb", Ready: true, Serving: true,
	}
	for _, word := range words[1:] {
		switch word {
		case "here":
			e.Node, e.Zone = "here", "za"
		case "unready":
			e.Ready, e.Serving = false, false
		case "draining": // terminating and still serving
			e.Ready, e.Terminating = false, true
		case "dying": // terminating and not serving any more
			e.Ready, e.Serving, e.Terminating = false, false, true
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

// TestLocalCounts is about Services with several ports and families, which the table of selections leaves out.
func TestLocalCounts(t *testing.T) {
	internal, external, both := Policy{InternalLocal: true}, Policy{ExternalLocal: true}, Policy{InternalLocal: true, ExternalLocal: true}
	for _, c := range []struct {
		name     string
		policy   Policy
		a, b, v6 []string // endpoints of port a, of port b, and of both over IPv6
		want     string   // NoLocal, internal and external; LocalReady, IPv4 and IPv6
	}{
		{"B41 an address counts once, whatever its ports", external, []string{"1 here", "2 here"}, []string{"2 here", "3 here"}, nil, "false false 3 0"},
		{"B41 each family for itself", external, []string{"1 here", "2"}, nil, []string{"8 here", "9 here unready"}, "false false 1 1"},
		{"B41 terminating ones do not count", external, []string{"1 here draining"}, []string{"2 here dying"}, nil, "false false 0 0"},
		{"P26 one port is enough", both, []string{"1 here"}, []string{"2"}, nil, "true true 1 0"},
		{"P26 one port is enough, whichever", internal, []string{"2"}, []string{"1 here"}, nil, "true false 1 0"},
		{"P26 one family is enough", external, []string{"1 here"}, []string{"1 here"}, []string{"9"}, "false true 1 0"},
		{"P26 a port without endpoints anywhere", both, []string{"1 here"}, nil, nil, "false false 1 0"},
		{"Cluster", Policy{}, []string{"1"}, []string{"2"}, []string{"9"}, "false false 0 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ports := []SlicePort{{Name: "a", Protocol: dataplane.TCP, Port: 8080}, {Name: "b", Protocol: dataplane.TCP, Port: 8081}}
			slice := func(name, prefix string, descriptions []string, ports ...SlicePort) Slice {
				s := Slice{Name: inNS(name), Ports: ports}
				for _, d := range descriptions {
					e := endpointOf(t, d)
					e.Addr = netip.MustParseAddr(prefix + strings.Fields(d)[0])
					s.Endpoints = append(s.Endpoints, e)
				}
				return s
			}
			view := NewView(Service{Ports: []Port{{"a", dataplane.TCP, 80, 0}, {"b", dataplane.TCP, 81, 0}}, Policy: c.policy},
				slice("a", "10.1.0.", c.a, ports[0]), slice("b", "10.1.0.", c.b, ports[1]), slice("v6", "fd00::", c.v6, ports...))
			node := Node{Name: "here", Zone: "za"}
			internal, external := NoLocal(view, Facts{Node: node, Families: dataplane.Families()})
			got := fmt.Sprint(internal, external, LocalReady(view, dataplane.IPv4, node), LocalReady(view, dataplane.IPv6, node))
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// The order of the endpoints stays, and what is not narrowed is not copied.
func TestSelectKeepsOrder(t *testing.T) {
	var endpoints []PortEndpoint
	for _, d := range []string{"4 here", "2", "9 here", "1", "7 unready"} {
		e := endpointOf(t, d)
		endpoints = append(endpoints, PortEndpoint{&e, 80})
	}
	s := Select(endpoints, Policy{ExternalLocal: true}, Node{Name: "here"})
	if got := suffixes(s.Internal) + "; " + suffixes(s.External); got != "4 2 9 1; 4 9" {
		t.Errorf("order %q", got)
	}
	all := Select(endpoints[:4], Policy{}, Node{Name: "here"})
	if &all.Internal[0] != &endpoints[0] || len(all.Internal) != 4 {
		t.Error("a list of which everything serves was copied")
	}
}
