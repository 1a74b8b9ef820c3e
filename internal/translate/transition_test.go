package translate

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/packet"
	"kube-ipvs-proxy/internal/plan"
	"kube-ipvs-proxy/internal/service"
)

// change is a Service on its way from one state to another, and what the kernel has in the meantime.
type change struct {
	facts     service.Facts
	ledger    *ledger.Ledger
	planner   *plan.Planner
	pools     map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32 // weights
	entries   map[dataplane.Entry]dataplane.Entry
	addresses map[netip.Addr]bool
}

func newChange() *change {
	options := plan.Options{DrainTimeout: time.Hour, Ours: func(dataplane.VirtualServerKey) bool { return true },
		Exceptions: Exceptions(), Refusals: Refusals()}
	return &change{ledger: ledger.New(Exceptions()), planner: plan.New(options),
		facts: service.Facts{Node: service.Node{Name: "n1"}, Families: dataplane.Families(),
			NodePortAddrs: parseAddrs([]string{"192.168.0.1"}), Local: parseAddrs([]string{"192.168.0.1"})},
		pools: map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32{}, entries: map[dataplane.Entry]dataplane.Entry{}, addresses: map[netip.Addr]bool{}}
}

// to returns the operations that lead to a state of the Service.
func (c *change) to(view service.View) []dataplane.Operation {
	changes, options := dataplane.NewKeys(), service.Options{Scheduler: "rr"}
	objects, _ := Service(view, c.facts, options, func(port service.Port, _ []dataplane.VirtualServerKey) uint32 { return 0x1000 + uint32(port.Port) })
	c.ledger.Replace(ledger.Owner{Name: "node"}, Node(c.facts, options), changes)
	c.ledger.Replace(ledger.Owner{Name: "service"}, objects, changes)
	return c.planner.Plan(plan.Request{Keys: changes, Desired: c.ledger})
}

// apply does one operation.
func (c *change) apply(op dataplane.Operation) {
	add := op.Verb != dataplane.Delete
	switch x := op.Object.(type) {
	case dataplane.Entry:
		if delete(c.entries, x.Key()); add {
			c.entries[x.Key()] = x
		}
	case dataplane.VirtualServer:
		if !add {
			delete(c.pools, x.Key)
		} else if c.pools[x.Key] == nil {
			c.pools[x.Key] = map[netip.AddrPort]uint32{}
		}
	case dataplane.Member:
		if delete(c.pools[x.VirtualServer], x.Addr); add {
			c.pools[x.VirtualServer][x.Addr] = x.Weight
		}
	case dataplane.Address:
		c.addresses[x.Addr] = add
	}
	c.planner.Confirm(op, nil)
}

// exposedAt are the virtual servers of the Service in all its states.
func exposedAt() []dataplane.VirtualServerKey {
	var keys []dataplane.VirtualServerKey
	for _, at := range []string{"10.96.0.1:80", "203.0.113.1:80", "203.0.113.2:81", "192.168.0.1:30000"} {
		addr := netip.MustParseAddrPort(at)
		keys = append(keys, dataplane.KeyOf(dataplane.TCP, addr.Addr(), addr.Port()))
	}
	return keys
}

// serves reports whether a client is to be served by the Service in this state.
func (c *change) serves(view service.View, key dataplane.VirtualServerKey, client string) bool {
	port := slices.IndexFunc(view.Ports, func(p service.Port) bool { return p.Port == key.Port || p.NodePort == key.Port })
	selection := service.Select(view.Endpoints(view.Ports[port]), view.Policy, c.facts.Node)
	switch {
	case key.Addr == view.VIPs.Cluster[0]:
		return len(selection.Internal) > 0
	case client == "outside":
		return len(selection.External) > 0
	}
	return len(selection.Shortcut) > 0
}

// fault returns what is wrong with what becomes of a client's first packet now.
func (c *change) fault(t *testing.T, key dataplane.VirtualServerKey, client string, from netip.Addr) string {
	q := quarter{host: hostOf(t, Rules(dataplane.IPv4, service.Options{Masquerade: cidr()}), slices.Collect(maps.Values(c.entries)))}
	q.pools = map[dataplane.VirtualServerKey]dataplane.Pool{}
	for key, servers := range c.pools {
		pool := dataplane.Pool{}
		for addr, weight := range servers {
			if weight > 0 {
				pool.RealServers = append(pool.RealServers, dataplane.RealServer{Addr: addr})
			}
		}
		q.pools[key] = pool
	}
	p := packet.Packet{Protocol: key.Protocol, From: from, To: key.Addr, Port: key.Port, State: "NEW"}
	pool, verdict := q.send(key, client, &p)
	elsewhere := slices.ContainsFunc(pool.RealServers, func(r dataplane.RealServer) bool { return r.Addr.Addr().As4()[2] != 0 })
	masqueraded := p.Mark&service.DefaultMark != 0
	switch {
	case verdict != "":
		return verdict
	case len(pool.RealServers) == 0:
		return "no server takes it"
	case client == "outside" && elsewhere && !masqueraded, client == "node" && c.addresses[from] && !masqueraded:
		return "answers do not find back"
	}
	return ""
}

// B33: a client that is served before a change of policies and endpoints, and after it, is served after each of its
// operations.
func TestB33ChangesHaveNoGaps(t *testing.T) {
	for seed := range uint64(25) {
		random, c, before := rand.New(rand.NewPCG(seed, 21)), newChange(), service.View{}
		for step := range 8 {
			now := wishes(random, 1)
			now.VIPs.External, now.VIPs.LoadBalancer = parseAddrs([]string{"203.0.113.1"}), parseAddrs([]string{"203.0.113.2"})
			now.Policy.SourceRanges, now.Ports[0].NodePort, now.Ports[1].NodePort = nil, 30000, 0
			for _, op := range c.to(now) {
				c.apply(op)
				for _, key := range exposedAt() {
					for client, from := range map[string]netip.Addr{"outside": netip.MustParseAddr("172.16.0.9"), "pod": netip.MustParseAddr("10.1.0.99"), "node": key.Addr} {
						if step == 0 || !c.serves(before, key, client) || !c.serves(now, key, client) {
							continue
						}
						if fault := c.fault(t, key, client, from); fault != "" {
							t.Fatalf("seed %d, step %d, after %q: %s from %s: %s", seed, step, op, key, client, fault)
						}
					}
				}
			}
			before = now
		}
	}
}
