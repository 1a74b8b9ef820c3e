package admin

import (
	"net/netip"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/netfilter"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
	"kube-ipvs-proxy/internal/translate"
)

// resident is a Service of the town. Its number n makes its ClusterIP 10.96.0.n, and its load balancer's 203.0.113.n.
type resident struct {
	name     string
	number   byte
	balanced bool
	nodePort uint16
	policy   service.Policy
	behind   []service.Endpoint
}

// at returns a ready endpoint on a node in a zone.
func at(addr, node, zone string) service.Endpoint {
	return service.Endpoint{Addr: netip.MustParseAddr(addr), Node: node, Zone: zone, Ready: true, Serving: true}
}

// hinted returns an endpoint with a hint for a zone.
func hinted(e service.Endpoint, zone string) service.Endpoint {
	e.ForZones = []string{zone}
	return e
}

// residents are Services whose endpoints are on node n1, which is the one that is looked at, in zone a, and on n2 in zone b.
func residents() []resident {
	here, there := at("10.244.1.2", "n1", "a"), at("10.244.2.2", "n2", "b")
	unready, ending, ended := at("10.244.2.3", "n2", "b"), at("10.244.2.4", "n2", "b"), at("10.244.2.5", "", "")
	unready.Ready, unready.Serving = false, false
	ending.Ready, ending.Terminating = false, true
	ended.Ready, ended.Serving, ended.Terminating = false, false, true
	extLocal := service.Policy{ExternalLocal: true, HealthCheckNodePort: 30999}
	return []resident{
		{"web", 1, true, 30080, service.Policy{}, []service.Endpoint{here, there, unready, ending, ended, at("fd00:10:244:1::2", "n1", "a")}},
		{"away", 2, true, 30082, extLocal, []service.Endpoint{there}},
		{"empty", 3, false, 0, service.Policy{}, nil},
		{"ranged", 4, true, 0, service.Policy{SourceRanges: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}, []service.Endpoint{here}},
		{"hinted", 5, false, 0, service.Policy{}, []service.Endpoint{hinted(here, "a"), hinted(there, "b")}},
		{"inner", 6, false, 0, service.Policy{InternalLocal: true, AffinityTimeout: time.Minute}, []service.Endpoint{here, there}},
		{"mixed", 7, true, 30087, extLocal, []service.Endpoint{here, there}},
		{"leaving", 8, false, 0, service.Policy{}, []service.Endpoint{ending, ended}},
	}
}

// view returns the Service with its slice.
func (r resident) view() service.View {
	s := service.Service{Name: service.Name{Namespace: "town", Name: r.name}, Policy: r.policy, Families: []dataplane.Family{dataplane.IPv4},
		Ports: []service.Port{{Name: "http", Protocol: dataplane.TCP, Port: 80, NodePort: r.nodePort}, {Name: "dns", Protocol: dataplane.UDP, Port: 53}},
		VIPs:  service.VIPs{Cluster: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, r.number})}}}
	if r.balanced {
		s.VIPs.LoadBalancer = []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, r.number})}
	}
	return service.NewView(s, service.Slice{Endpoints: r.behind, Ports: []service.SlicePort{
		{Name: "http", Protocol: dataplane.TCP, Port: 8080}, {Name: "dns", Protocol: dataplane.UDP, Port: 5353}}})
}

// marksOf hands out marks: the first to the first Service that asks.
func marksOf() translate.MarkOf {
	next := uint32(0x1000)
	return func(service.Port, []dataplane.VirtualServerKey) uint32 {
		next++
		return next - 1
	}
}

// town returns what the node n1 of the residents wants, made by those who make it for the daemon.
func town(t *testing.T) Case {
	t.Helper()
	addrs := func(texts ...string) (out []netip.Addr) {
		for _, text := range texts {
			out = append(out, netip.MustParseAddr(text))
		}
		return out
	}
	pods := []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:10:244:1::/64")}
	facts := service.Facts{Node: service.Node{Name: "n1", Zone: "a", Addresses: addrs("192.168.0.1"), PodCIDRs: pods}, OtherNodes: addrs("192.168.0.2"),
		Local: addrs("192.168.0.1", "192.168.7.1"), NodePortAddrs: addrs("192.168.0.1"), Families: dataplane.Families()}
	options := service.Options{Scheduler: "rr", Masquerade: service.Masquerade{Local: service.Detector{CIDRs: pods}}}
	c := Case{Settings: settings(), Compile: compiled, View: reconcile.View{Complete: true, Basis: reconcile.Basis{Facts: facts, Options: options},
		Foundation: kernel.Foundation{Sets: translate.Sets(dataplane.Families())}, Objects: translate.Node(facts, options)}}
	for _, family := range dataplane.Families() {
		c.View.Foundation.Rulesets = append(c.View.Foundation.Rulesets, translate.Rules(family, options))
	}
	markOf := marksOf()
	for _, r := range residents() {
		view := r.view()
		c.Services = append(c.Services, reconcile.Delivered{Source: "api", View: view})
		objects, problems := translate.Service(view, facts, options, markOf)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		all := &c.View.Objects
		for range objects.Pools {
			c.View.Owners.Pools = append(c.View.Owners.Pools, reconcile.Owner{Source: "api", Service: view.Name})
		}
		all.Pools, all.Addresses = append(all.Pools, objects.Pools...), append(all.Addresses, objects.Addresses...)
		all.Entries = append(all.Entries, objects.Entries...)
	}
	web := dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.0.1"), 80)
	c.View.Draining = []dataplane.Member{{VirtualServer: web, RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort("10.244.2.4:8080")}}}
	return c
}

func compiled(rules dataplane.Ruleset) ([]Table, error) {
	all, err := netfilter.Compile(rules)
	tables := make([]Table, len(all))
	for i, table := range all {
		tables[i] = Table{Name: string(table.Name)}
		for _, chain := range table.Chains {
			tables[i].Chains = append(tables[i].Chains, Chain(chain))
		}
	}
	return tables, err
}
