package translate

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/packet"
	"kube-ipvs-proxy/internal/service"
)

// quarter is a part of a town whose Services want each other's addresses and ports, and a node that has translated them.
type quarter struct {
	host
	facts   service.Facts
	options service.Options
	views   map[string]service.View
	ledger  *ledger.Ledger
	pools   map[dataplane.VirtualServerKey]dataplane.Pool
}

func newQuarter(t *testing.T, random *rand.Rand) *quarter {
	q := &quarter{views: map[string]service.View{}, ledger: ledger.New(Exceptions()), pools: map[dataplane.VirtualServerKey]dataplane.Pool{},
		options: service.Options{Scheduler: "rr", Masquerade: cidr()}, facts: service.Facts{
			Node: service.Node{Name: "n1"}, Families: dataplane.Families(), NodePortAddrs: parseAddrs([]string{"192.168.0.1"}),
			Local: parseAddrs([]string{"192.168.0.1", "192.168.7.1"}), OtherNodes: parseAddrs([]string{"203.0.113.3"})}}
	changes, mark := dataplane.NewKeys(), uint32(0x1000)
	q.ledger.Replace(ledger.Owner{Name: "node"}, Node(q.facts, q.options), changes)
	for i := range 4 {
		view := wishes(random, i)
		// This test is about IPv4 only, so that each port asks once.
		objects, _ := Service(view, q.facts, q.options, func(service.Port, []dataplane.VirtualServerKey) uint32 { mark++; return mark })
		q.views[view.Name.Name] = view
		q.ledger.Replace(ledger.Owner{Name: view.Name.Name, Created: view.Created}, objects, changes)
	}
	all := q.ledger.Objects()
	for _, pool := range all.Pools {
		q.pools[pool.Key] = pool
	}
	q.host = hostOf(t, Rules(dataplane.IPv4, q.options), all.Entries)
	return q
}

// wishes is a Service with any policies and endpoints, with addresses and node ports that others want as well.
func wishes(random *rand.Rand, number int) service.View {
	one := func(addrs ...string) netip.Addr { return netip.MustParseAddr(addrs[random.IntN(len(addrs))]) }
	s := service.Service{Name: service.Name{Namespace: "town", Name: fmt.Sprint(number)}, Created: time.Unix(int64(random.IntN(3)), 0),
		Families: []dataplane.Family{dataplane.IPv4}, VIPs: service.VIPs{Cluster: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(number)})}}}
	if random.IntN(2) == 0 {
		s.VIPs.External = []netip.Addr{one("203.0.113.1", "203.0.113.2", "203.0.113.3", fmt.Sprint("10.96.0.", (number+1)%4))}
	}
	if random.IntN(2) == 0 {
		s.VIPs.LoadBalancer = []netip.Addr{one("203.0.113.1", "203.0.113.2", "203.0.113.3", "192.168.0.1", "192.168.7.1")}
	}
	s.Policy.ExternalLocal, s.Policy.InternalLocal = random.IntN(2) == 0, random.IntN(3) == 0
	if random.IntN(4) == 0 {
		s.Policy.SourceRanges = []netip.Prefix{netip.MustParsePrefix("172.16.0.0/16")}
	}
	slice := service.Slice{}
	for p := range uint16(2) {
		nodePort := uint16(random.IntN(2)) * (30000 + 10*p + uint16(random.IntN(2)))
		s.Ports = append(s.Ports, service.Port{Name: fmt.Sprint(p), Protocol: dataplane.TCP, Port: 80 + p, NodePort: nodePort})
		slice.Ports = append(slice.Ports, service.SlicePort{Name: fmt.Sprint(p), Protocol: dataplane.TCP, Port: 8080 + p})
	}
	for range random.IntN(4) {
		node := byte(random.IntN(2))
		slice.Endpoints = append(slice.Endpoints, service.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 1, node, byte(random.IntN(9) + 1)}),
			Node: fmt.Sprint("n", node+1), Ready: random.IntN(3) > 0, Serving: random.IntN(3) > 0, Terminating: random.IntN(3) == 0})
	}
	return service.NewView(s, slice)
}

// promise is what the Service that a virtual server goes to promises a client.
type promise struct {
	of      service.View
	cluster bool // its ClusterIP
	servers []service.PortEndpoint
	verdict string // what becomes of the client instead
}

func (q *quarter) promises(key dataplane.VirtualServerKey, client string, from netip.Addr) promise {
	out := promise{of: q.views[q.ledger.Owners(key)[0].Name]}
	vips, port := out.of.VIPs, slices.IndexFunc(out.of.Ports, func(p service.Port) bool { return p.Port == key.Port })
	byPort := port >= 0
	if !byPort {
		port = slices.IndexFunc(out.of.Ports, func(p service.Port) bool { return p.NodePort == key.Port })
	}
	selection := service.Select(out.of.Endpoints(out.of.Ports[port]), out.of.Policy, q.facts.Node)
	out.cluster = byPort && slices.Contains(vips.Cluster, key.Addr)
	switch {
	case out.cluster:
		out.servers = selection.Internal
	case client == "outside":
		out.servers = selection.External
	default:
		out.servers = selection.Shortcut
	}
	ranges := out.of.Policy.SourceRanges
	denied := len(ranges) > 0 && byPort && slices.Contains(vips.LoadBalancer, key.Addr) && !ranges[0].Contains(from)
	switch {
	case denied, len(out.servers) == 0 && selection.Anywhere:
		out.verdict = "drop"
	case len(out.servers) == 0:
		out.verdict = "reset"
	}
	return out
}

// send sends the first packet of a client. It returns what IPVS then looks for, and what becomes of the packet before.
func (q *quarter) send(key dataplane.VirtualServerKey, client string, p *packet.Packet) (pool dataplane.Pool, verdict string) {
	if client == "node" {
		verdict = q.pass(dataplane.Mangle, "OUTPUT", p)
		q.pass(dataplane.NAT, "OUTPUT", p)
	} else {
		q.pass(dataplane.NAT, "PREROUTING", p)
		q.pass(dataplane.Mangle, "INPUT", p)
		verdict = q.pass(dataplane.Filter, "INPUT", p)
	}
	pool = q.pools[key]
	if marked, ok := q.pools[dataplane.MarkKeyOf(key.Family, p.Mark)]; ok {
		pool = marked
	}
	if client == "node" && verdict == "" && len(pool.RealServers) == 0 { // it comes by the loopback interface
		verdict = q.pass(dataplane.Filter, "INPUT", p)
	}
	return pool, verdict
}

// check returns what a client gets that it should not, or does not get that it should.
func (q *quarter) check(key dataplane.VirtualServerKey, client string, from netip.Addr) string {
	p := packet.Packet{Protocol: key.Protocol, From: from, To: key.Addr, Port: key.Port, State: "NEW"}
	want := q.promises(key, client, from)
	pool, verdict := q.send(key, client, &p)
	if verdict != want.verdict {
		return fmt.Sprintf("%q, want %q", verdict, want.verdict)
	}
	var servers []netip.AddrPort
	for _, real := range pool.RealServers {
		servers = append(servers, real.Addr)
	}
	elsewhere := slices.ContainsFunc(want.servers, func(e service.PortEndpoint) bool { return !e.IsOn(q.facts.Node) })
	missing := slices.ContainsFunc(want.servers, func(e service.PortEndpoint) bool { return !slices.Contains(servers, e.AddrPort()) })
	masqueraded := p.Mark&service.DefaultMark != 0
	switch {
	case verdict != "":
	case missing || len(servers) != len(want.servers):
		return fmt.Sprintf("is sent to %v, want %v", servers, want.servers)
	case client == "outside" && elsewhere && !masqueraded:
		return "answers do not find back"
	case client == "outside" && !want.cluster && want.of.Policy.ExternalLocal && masqueraded, client == "pod" && want.cluster && masqueraded:
		return "its address is lost"
	case client == "node" && q.ledger.Address(from) && !masqueraded:
		return "leaves with a virtual address"
	}
	return ""
}

// B03, B24, P26, P27: whatever Services want the same addresses, ports and node ports: outside, from pods and from the node
// itself, each virtual server gives what the Service that it goes to promises, and nothing of the others.
func TestEveryClientGetsWhatTheWinnerPromises(t *testing.T) {
	for seed := range uint64(500) {
		q := newQuarter(t, rand.New(rand.NewPCG(seed, 11)))
		for key := range q.pools {
			bound := q.ledger.Address(key.Addr)
			if key.Mark != 0 || !bound && !slices.Contains(q.facts.Local, key.Addr) {
				continue // what is not of this node is forwarded
			}
			own := key.Addr // the kernel prefers the destination as the source
			if !bound {
				own = q.facts.Local[0]
			}
			for from, client := range map[string]string{"172.16.0.9": "outside", "172.17.0.9": "outside", "10.1.0.99": "pod", own.String(): "node"} {
				if fault := q.check(key, client, netip.MustParseAddr(from)); fault != "" {
					t.Fatalf("seed %d: %s of Service %s, %s %s: %s", seed, key, q.ledger.Owners(key)[0].Name, client, from, fault)
				}
			}
		}
	}
}
