package translate

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// benchFacts are those of a node with both families and one address of each.
func benchFacts() service.Facts {
	facts := factsOf("n1")
	facts.Local = parseAddrs([]string{"192.0.2.10", "2001:db8::10"})
	facts.NodePortAddrs = facts.Local
	return facts
}

// benchView is the Service number i, with ten endpoints, of which every other is on the own node.
func benchView(i int, adjust func(*service.Service)) service.View {
	s := service.Service{
		Name:     service.Name{Namespace: "ns", Name: fmt.Sprint("svc-", i)},
		Families: []dataplane.Family{dataplane.IPv4},
		VIPs:     service.VIPs{Cluster: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}},
		Ports:    []service.Port{{Name: "http", Protocol: dataplane.TCP, Port: 80}},
	}
	if adjust != nil {
		adjust(&s)
	}
	slice := service.Slice{Ports: []service.SlicePort{{Name: "http", Protocol: dataplane.TCP, Port: 8080}, {Name: "dns", Protocol: dataplane.UDP, Port: 53}}}
	for e := range 10 {
		addr := netip.AddrFrom4([4]byte{10, byte(128 + i>>12), byte(i >> 4), byte(i<<4 + e)})
		slice.Endpoints = append(slice.Endpoints, service.Endpoint{Addr: addr, Node: fmt.Sprint("n", 1+e%2), Ready: true, Serving: true})
	}
	return service.NewView(s, slice)
}

// benchKinds are the ways in which Services differ in what they cost.
func benchKinds() map[string]func(*service.Service) {
	outside := func(s *service.Service) {
		s.VIPs.External = parseAddrs([]string{"198.51.100.1"})
		s.VIPs.LoadBalancer = parseAddrs([]string{"203.0.113.1"})
		s.Ports[0].NodePort = 30080
	}
	return map[string]func(*service.Service){
		"ClusterIP": nil,
		"NodePort":  func(s *service.Service) { s.Ports[0].NodePort = 30080 },
		"LoadBalancer": func(s *service.Service) {
			outside(s)
			s.Policy.SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.0.0/16")}
		},
		"LoadBalancerLocal": func(s *service.Service) {
			outside(s)
			s.Policy.ExternalLocal, s.Policy.HealthCheckNodePort = true, 32000
		},
		"InternalLocal": func(s *service.Service) { s.Policy.InternalLocal = true },
		"Affinity":      func(s *service.Service) { s.Policy.AffinityTimeout = 3 * time.Hour },
		"TwoPorts": func(s *service.Service) {
			s.Ports = append(s.Ports, service.Port{Name: "dns", Protocol: dataplane.UDP, Port: 53})
		},
		"NobodyThere": func(s *service.Service) { s.Ports[0].Name = "other" },
	}
}

func translateOnce(tb testing.TB, view service.View, facts service.Facts) dataplane.Objects {
	objects, problems := Service(view, facts, service.Options{Scheduler: "rr"}, portMark)
	if len(problems) > 0 || len(objects.Pools) == 0 {
		tb.Fatalf("%d virtual servers, problems %v", len(objects.Pools), problems)
	}
	return objects
}

// One Service of each kind, with ten endpoints.
func BenchmarkKinds(b *testing.B) {
	for name, adjust := range benchKinds() {
		b.Run(name, func(b *testing.B) {
			view, facts := benchView(1, adjust), benchFacts()
			b.ReportAllocs()
			for b.Loop() {
				translateOnce(b, view, facts)
			}
		})
	}
}

// All Services of a cluster with 10,000 of ten endpoints each, as at the start.
func BenchmarkServices10000(b *testing.B) {
	views, facts := make([]service.View, 10_000), benchFacts()
	for i := range views {
		views[i] = benchView(i, nil)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, view := range views {
			translateOnce(b, view, facts)
		}
	}
}
