package translate

import (
	"fmt"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// Service returns everything that a Service wants of the data plane on this node, and what in it cannot be had. Virtual
// servers come in the order of the Service's ports and addresses; addresses and entries are sorted; nothing comes twice.
//
// A virtual server that no endpoint is wanted for is returned with no real servers. It is meant to vanish once nothing
// behind it drains any more, and until then an entry of KUBE-NO-ENDPOINTS or KUBE-NO-LOCAL keeps new connections off it.
func Service(view service.View, facts service.Facts, options service.Options, markOf MarkOf) (dataplane.Objects, []service.Problem) {
	t := translation{view: view, facts: facts, options: options, markOf: markOf, seen: map[dataplane.VirtualServerKey]struct{}{}}
	families := t.families()
	for i, port := range view.Ports {
		if !t.checkPort(i) {
			continue
		}
		endpoints := view.Endpoints(port)
		for _, family := range families {
			t.port(port, family, service.OfFamily(endpoints, family), t.nodePort(i))
		}
	}
	t.bind(families)
	for _, family := range families {
		if port := view.Policy.HealthCheckNodePort; port != 0 {
			t.entry(family, HealthCheckNodePort, dataplane.Entry{Port: port})
		}
	}
	slices.SortFunc(t.objects.Entries, dataplane.Entry.Compare)
	t.objects.Entries = slices.Compact(t.objects.Entries)
	return t.objects, t.problems
}

// Node returns what the node wants of the data plane whatever Services there are: the addresses its NodePorts are
// served on.
func Node(facts service.Facts, _ service.Options) dataplane.Objects {
	var out dataplane.Objects
	for _, addr := range facts.NodePortAddrs {
		if family := dataplane.FamilyOf(addr); slices.Contains(facts.Families, family) {
			for _, set := range []string{NodePortIPs, ServedIPs} {
				out.Entries = append(out.Entries, dataplane.Entry{Set: SetName(family, set), Addr: addr})
			}
		}
	}
	slices.SortFunc(out.Entries, dataplane.Entry.Compare)
	out.Entries = slices.Compact(out.Entries)
	return out
}

// translation is one Service on its way.
type translation struct {
	view     service.View
	facts    service.Facts
	options  service.Options
	markOf   MarkOf
	objects  dataplane.Objects
	problems []service.Problem
	seen     map[dataplane.VirtualServerKey]struct{}
}

// kind is what a virtual server's address is to the Service.
type kind uint8

const (
	cluster kind = iota
	external
	loadBalancer
	nodePort
)

// vips are the addresses of one kind, and the field of the Service they come from.
type vips struct {
	kind  kind
	field string
	addrs []netip.Addr
}

func (t *translation) vips() []vips {
	return []vips{
		{cluster, "spec.clusterIPs", t.view.VIPs.Cluster},
		{external, "spec.externalIPs", t.view.VIPs.External},
		{loadBalancer, "status.loadBalancer.ingress", t.view.VIPs.LoadBalancer},
	}
}

// families returns the families in which the Service is served here.
func (t *translation) families() []dataplane.Family {
	var out []dataplane.Family
	for _, family := range t.facts.Families {
		if slices.Contains(t.view.Families, family) {
			out = append(out, family)
		}
	}
	return out
}

// checkPort reports whether the port with the index can be served, and why not.
func (t *translation) checkPort(i int) bool {
	port := t.view.Ports[i]
	field := fmt.Sprintf("spec.ports[%d]", i)
	switch {
	case port.Protocol != dataplane.TCP && port.Protocol != dataplane.UDP && port.Protocol != dataplane.SCTP:
		t.problem(field+".protocol", port.Protocol.String(), "is not served; use TCP, UDP or SCTP")
	case port.Port == 0:
		t.problem(field+".port", "0", "is no port number; use 1 to 65535")
	case slices.ContainsFunc(t.view.Ports[:i], func(p service.Port) bool {
		return p.Port == port.Port && p.Protocol == port.Protocol
	}):
		t.problem(field+".port", fmt.Sprint(port.Port), "an earlier port of the Service has the number and protocol and is served instead; remove one")
	default:
		return true
	}
	return false
}

// nodePort returns the NodePort of the port with the index, 0 for none.
func (t *translation) nodePort(i int) uint16 {
	port := t.view.Ports[i]
	if port.NodePort != 0 && slices.ContainsFunc(t.view.Ports[:i], func(p service.Port) bool {
		return p.NodePort == port.NodePort && p.Protocol == port.Protocol
	}) {
		t.problem(fmt.Sprintf("spec.ports[%d].nodePort", i), fmt.Sprint(port.NodePort),
			"an earlier port of the Service has the number and protocol and is served instead; use another")
		return 0
	}
	return port.NodePort
}

// port translates one port in one family.
func (t *translation) port(port service.Port, family dataplane.Family, endpoints []service.PortEndpoint, nodePortNumber uint16) {
	selection := service.Select(endpoints, t.view.Policy, t.facts.Node)
	inside := audienceOf(selection.Internal, endpoints, selection.Anywhere)
	outside := inside
	if t.view.Policy.ExternalLocal || t.view.Policy.InternalLocal {
		outside = audienceOf(selection.External, endpoints, selection.Anywhere)
	}
	if len(selection.External) == 0 && t.view.Policy.ExternalLocal {
		// Clients outside are dropped before they get there. For those inside this is what serves them where the mark that
		// tells them is lost on the way, as to rules of others that set another one.
		outside = audienceOf(selection.Shortcut, endpoints, selection.Anywhere)
		outside.dropped = selection.Anywhere
	}
	var exposed exposed
	for _, vips := range t.vips() {
		for _, addr := range vips.addrs {
			key := dataplane.KeyOf(port.Protocol, addr, port.Port)
			switch {
			case !service.Reachable(addr) || key.Family != family:
			case vips.kind == cluster:
				t.serve(vips.kind, key, inside)
			case !t.serve(vips.kind, key, outside):
			case t.obstacle(addr) == "":
				exposed.bound = append(exposed.bound, key)
			default:
				exposed.nodes = append(exposed.nodes, key)
			}
		}
	}
	if nodePortNumber != 0 {
		for _, addr := range t.facts.NodePortAddrs {
			key := dataplane.KeyOf(port.Protocol, addr, nodePortNumber)
			if key.Family == family && t.serve(nodePort, key, outside) {
				exposed.nodes = append(exposed.nodes, key)
			}
		}
	}
	if t.view.Policy.ExternalLocal {
		t.inside(port, family, exposed, audienceOf(selection.Shortcut, endpoints, selection.Anywhere))
	}
	t.hairpin(family, port.Protocol, endpoints)
}

// audience is what the clients of a virtual server get, and what is known of the rest.
type audience struct {
	wanted   []service.PortEndpoint
	listed   []netip.AddrPort
	leaving  []netip.AddrPort
	anywhere bool // somebody else may have an endpoint if wanted is empty
	dropped  bool // who is to be kept off goes unanswered, although something is wanted for others
}

func audienceOf(wanted, endpoints []service.PortEndpoint, anywhere bool) audience {
	a := audience{wanted: wanted, anywhere: anywhere}
	// wanted keeps the order of endpoints, so that one look ahead tells whether the next is in it.
	for _, e := range endpoints {
		if len(wanted) > 0 && wanted[0] == e {
			wanted = wanted[1:]
		} else {
			a.listed = append(a.listed, e.AddrPort())
		}
		if e.Leaving() {
			a.leaving = append(a.leaving, e.AddrPort())
		}
	}
	return a
}

// serve adds a virtual server and the entries that go with its kind, and reports whether there was none yet.
func (t *translation) serve(kind kind, key dataplane.VirtualServerKey, audience audience) bool {
	t.classify(kind, key)
	if _, ok := t.seen[key]; ok {
		// An address can be of two kinds, such as an externalIP that is also the load balancer's.
		return false
	}
	t.seen[key] = struct{}{}
	if kind != nodePort { // Node adds those
		t.entry(key.Family, ServedIPs, dataplane.Entry{Addr: key.Addr})
	}
	t.objects.Pools = append(t.objects.Pools, dataplane.Pool{
		VirtualServer: t.virtualServer(key),
		RealServers:   realServers(t.facts.Node.Name, key, audience.wanted),
		Listed:        audience.listed,
		Leaving:       audience.leaving,
	})
	switch {
	case audience.dropped:
		t.entry(key.Family, NoLocal, entryOf(key))
	case len(audience.wanted) > 0:
	case audience.anywhere:
		t.entry(key.Family, NoLocal, entryOf(key))
	default:
		t.entry(key.Family, NoEndpoints, entryOf(key))
	}
	return true
}

// maxAffinity is the longest session affinity the API allows, in seconds. Much longer ones would overflow in the
// kernel, which counts in ticks.
const maxAffinity = 86400

func (t *translation) virtualServer(key dataplane.VirtualServerKey) dataplane.VirtualServer {
	out := dataplane.VirtualServer{Key: key, Scheduler: t.options.Scheduler, MaskBits: uint8(key.Family.Bits())}
	if timeout := t.view.Policy.AffinityTimeout; timeout > 0 {
		out.Flags |= dataplane.FlagPersistent
		out.Timeout = uint32(min(max(timeout.Seconds(), 1), maxAffinity))
	}
	switch t.options.Scheduler {
	case "mh":
		// The source port is part of the hash with kube-proxy.
		out.Flags |= dataplane.FlagHashPort | t.fallback()
	case "sh":
		out.Flags |= t.fallback()
	}
	return out
}

// fallback returns the flag that makes a hashing scheduler look for another real server when the chosen one has weight
// 0: without it, new connections fail as long as an endpoint drains (P14).
func (t *translation) fallback() dataplane.ServiceFlags {
	if t.options.NoFallback {
		return 0
	}
	return dataplane.FlagFallback
}

func (t *translation) problem(field, value, reason string) {
	t.problems = append(t.problems, service.Problem{
		Object: "Service " + t.view.Name.String(), Field: field, Value: value, Reason: reason,
	})
}
