package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// simple is a Service with one TCP port and n ready endpoints.
func simple(n int) service.View {
	s := service.Service{
		Name:     service.Name{Namespace: "ns", Name: "web"},
		Families: []dataplane.Family{dataplane.IPv4},
		VIPs:     service.VIPs{Cluster: parseAddrs([]string{"10.96.0.1"})},
		Ports:    []service.Port{{Protocol: dataplane.TCP, Port: 80}},
	}
	slice := service.Slice{Ports: []service.SlicePort{{Protocol: dataplane.TCP, Port: 8080}}}
	for i := range n {
		slice.Endpoints = append(slice.Endpoints, service.Endpoint{
			Addr: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), Node: "n2", Ready: true, Serving: true,
		})
	}
	return service.NewView(s, slice)
}

func factsOf(node string) service.Facts {
	return service.Facts{Node: service.Node{Name: node}, Families: dataplane.Families()}
}

func order(t *testing.T, view service.View, node string) []netip.AddrPort {
	t.Helper()
	objects, problems := Service(view, factsOf(node), service.Options{Scheduler: "rr"}, portMark)
	if len(problems) > 0 || len(objects.Pools) != 1 {
		t.Fatalf("%d pools, %v", len(objects.Pools), problems)
	}
	var out []netip.AddrPort
	for _, server := range objects.Pools[0].RealServers {
		out = append(out, server.Addr)
	}
	return out
}

func TestP15InsertionOrder(t *testing.T) {
	const nodes, endpoints = 400, 8
	first := map[netip.AddrPort]int{}
	for i := range nodes {
		node := fmt.Sprintf("node-%d", i)
		got := order(t, simple(endpoints), node)
		if len(got) != endpoints || !slices.Equal(got, order(t, simple(endpoints), node)) {
			t.Fatalf("%s: the order is not stable: %v", node, got)
		}
		first[got[0]]++
		more := order(t, simple(endpoints+1), node)
		newcomer := netip.MustParseAddrPort("10.1.0.8:8080")
		if rest := slices.DeleteFunc(more, func(a netip.AddrPort) bool { return a == newcomer }); !slices.Equal(rest, got) {
			t.Fatalf("%s: a new endpoint reorders the others: %v, was %v", node, rest, got)
		}
	}
	// An even spread puts 50 on each. Less than half of that, for all their 400, is beyond chance.
	for addr, n := range first {
		if n < nodes/endpoints/2 || n > nodes/endpoints*2 {
			t.Errorf("%s is the first of %d nodes out of %d", addr, n, nodes)
		}
	}
	if len(first) != endpoints {
		t.Errorf("only %d endpoints are ever first", len(first))
	}
	other := simple(endpoints)
	other.VIPs.Cluster = parseAddrs([]string{"10.96.0.2"})
	if slices.Equal(order(t, other, "node-0"), order(t, simple(endpoints), "node-0")) {
		t.Error("another virtual server has the same order")
	}
}

func TestSchedulersAndAffinity(t *testing.T) {
	for _, c := range []struct {
		options  service.Options
		affinity time.Duration
		want     string
	}{
		{service.Options{Scheduler: "rr"}, 0, "-s rr"},
		{service.Options{Scheduler: "lc"}, 90 * time.Second, "-s lc -p 90"},
		{service.Options{Scheduler: "rr"}, time.Millisecond, "-s rr -p 1"},
		{service.Options{Scheduler: "rr"}, 1 << 62, "-s rr -p 86400"},
		{service.Options{Scheduler: "mh"}, 0, "-s mh -b mh-fallback,mh-port"}, // P14
		{service.Options{Scheduler: "sh"}, 0, "-s sh -b sh-fallback"},         // P14
		{service.Options{Scheduler: "mh", NoFallback: true}, 0, "-s mh -b mh-port"},
		{service.Options{Scheduler: "sh", NoFallback: true}, time.Minute, "-s sh -p 60"},
		{service.Options{Scheduler: "wrr", NoFallback: true}, 0, "-s wrr"},
	} {
		view := simple(1)
		view.Policy.AffinityTimeout = c.affinity
		objects, _ := Service(view, factsOf("n1"), c.options, portMark)
		if got := objects.Pools[0].VirtualServer.String(); got != "-A -t 10.96.0.1:80 "+c.want {
			t.Errorf("%+v, affinity %v: %s, want %s", c.options, c.affinity, got, c.want)
		}
	}
}

func TestUnusablePorts(t *testing.T) {
	view := simple(1)
	view.VIPs.External = parseAddrs([]string{"0.0.0.0"})
	view.Ports = []service.Port{
		{Protocol: dataplane.TCP, Port: 80, NodePort: 30080},
		{Protocol: dataplane.UDP, Port: 80, NodePort: 30080},
		{Name: "a", Protocol: dataplane.TCP, Port: 80},
		{Name: "b", Protocol: dataplane.TCP, Port: 81, NodePort: 30080},
		{Name: "c", Protocol: 99, Port: 82},
		{Name: "d", Protocol: dataplane.TCP},
	}
	facts := factsOf("n1")
	facts.NodePortAddrs = parseAddrs([]string{"192.168.0.1", "fd00::1"})
	objects, problems := Service(view, facts, service.Options{Scheduler: "rr"}, portMark)
	var got []string
	for _, p := range objects.Pools {
		got = append(got, p.Key.String())
	}
	want := []string{"-t 10.96.0.1:80", "-t 192.168.0.1:30080", "-u 10.96.0.1:80", "-u 192.168.0.1:30080", "-t 10.96.0.1:81"}
	if !slices.Equal(got, want) {
		t.Errorf("virtual servers %q, want %q", got, want)
	}
	got = nil
	for _, p := range problems {
		got = append(got, p.Field+"="+p.Value)
	}
	want = []string{"spec.ports[2].port=80", "spec.ports[3].nodePort=30080", "spec.ports[4].protocol=protocol-99",
		"spec.ports[5].port=0", "spec.externalIPs=0.0.0.0"}
	if !slices.Equal(got, want) {
		t.Errorf("problems %q, want %q", got, want)
	}
}

// P24: an address belongs to the Service, not to its first port; without any port there is nothing to bind it for.
func TestP24AddressOfSeveralPorts(t *testing.T) {
	both := []service.Port{{Protocol: dataplane.TCP, Port: 80}, {Protocol: dataplane.TCP, Port: 81}}
	for _, ports := range [][]service.Port{both, both[1:], both[:1], nil} {
		view := simple(1)
		view.Ports = ports
		objects, _ := Service(view, factsOf("n1"), service.Options{Scheduler: "rr"}, portMark)
		if len(objects.Addresses) != min(1, len(ports)) || len(objects.Pools) != len(ports) {
			t.Errorf("%d ports: %d addresses, %d virtual servers", len(ports), len(objects.Addresses), len(objects.Pools))
		}
	}
}

func TestNode(t *testing.T) {
	facts := service.Facts{NodePortAddrs: parseAddrs([]string{"192.168.7.1", "192.168.0.1", "fd00::1"}), Families: dataplane.Families()}
	const four = "add KUBE-NODE-PORT-IPS 192.168.0.1\nadd KUBE-NODE-PORT-IPS 192.168.7.1\n" +
		"add KUBE-SERVED-IPS 192.168.0.1\nadd KUBE-SERVED-IPS 192.168.7.1\n"
	const six = "add KUBE-6-NODE-PORT-IPS fd00::1\nadd KUBE-6-SERVED-IPS fd00::1\n"
	if got := Node(facts, service.Options{}).Dump(); got != six+four {
		t.Errorf("both families:\n%s", got)
	}
	facts.Families = []dataplane.Family{dataplane.IPv4}
	if got := Node(facts, service.Options{}).Dump(); got != four {
		t.Errorf("IPv4 only:\n%s", got)
	}
}

// The table of sets is the surface that kube-proxy and CNI plugins know; the last four lines are this project's.
func TestSets(t *testing.T) {
	const hashed = " family inet hashsize 1024 maxelem 65536"
	want := map[string]string{
		"KUBE-LOOP-BACK": "hash:ip,port,ip", "KUBE-LOAD-BALANCER-SOURCE-IP": "hash:ip,port,ip",
		"KUBE-CLUSTER-IP": "hash:ip,port", "KUBE-EXTERNAL-IP": "hash:ip,port", "KUBE-EXTERNAL-IP-LOCAL": "hash:ip,port",
		"KUBE-LOAD-BALANCER": "hash:ip,port", "KUBE-LOAD-BALANCER-FW": "hash:ip,port", "KUBE-LOAD-BALANCER-LOCAL": "hash:ip,port",
		"KUBE-NODE-PORT-SCTP-HASH": "hash:ip,port", "KUBE-NODE-PORT-LOCAL-SCTP-HASH": "hash:ip,port",
		"KUBE-LOAD-BALANCER-SOURCE-CIDR": "hash:ip,port,net",
		"KUBE-NODE-PORT-TCP":             "bitmap:port", "KUBE-NODE-PORT-LOCAL-TCP": "bitmap:port", "KUBE-NODE-PORT-UDP": "bitmap:port",
		"KUBE-NODE-PORT-LOCAL-UDP": "bitmap:port", "KUBE-HEALTH-CHECK-NODE-PORT": "bitmap:port", "KUBE-IPVS-IPS": "hash:ip",
		"KUBE-SERVED-IPS":    "hash:ip",
		"KUBE-NODE-PORT-IPS": "hash:ip", "KUBE-NO-ENDPOINTS": "hash:ip,port", "KUBE-NO-LOCAL": "hash:ip,port",
		"KUBE-INTERNAL-MARK": "hash:ip,port",
	}
	four, six := Sets([]dataplane.Family{dataplane.IPv4}), Sets([]dataplane.Family{dataplane.IPv6})
	if len(four) != len(want) || len(six) != len(want) {
		t.Fatalf("%d sets for IPv4, %d for IPv6, want %d", len(four), len(six), len(want))
	}
	for i, set := range four {
		line := "create " + set.Name + " " + want[set.Name] + hashed
		if want[set.Name] == "bitmap:port" {
			line = "create " + set.Name + " bitmap:port range 0-65535"
		}
		if set.Name == "KUBE-INTERNAL-MARK" {
			line += " skbinfo"
		}
		if set.String() != line {
			t.Errorf("%s, want %s", set, line)
		}
		name := "KUBE-6-" + strings.TrimPrefix(set.Name, "KUBE-")
		line = strings.Replace(strings.Replace(line, set.Name, name[:min(31, len(name))], 1), "family inet ", "family inet6 ", 1)
		if six[i].String() != line {
			t.Errorf("%s, want %s", six[i], line)
		}
	}
	if got := SetName(dataplane.IPv6, LoadBalancerSourceCIDR); got != "KUBE-6-LOAD-BALANCER-SOURCE-CID" {
		t.Errorf("cut to %q", got)
	}
}

func BenchmarkService(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			view, facts := simple(n), factsOf("n1")
			b.ReportAllocs()
			for b.Loop() {
				Service(view, facts, service.Options{Scheduler: "rr"}, portMark)
			}
		})
	}
}

// B24, P18: at an address that a node has, pods of other nodes arrive, too; they are masqueraded, so that the answer comes
// back this way.
func TestB24InsideAtAddressesOfNodes(t *testing.T) {
	facts := factsOf("n1")
	facts.Local = append(facts.Local, netip.MustParseAddr("192.168.9.9"))
	view := service.NewView(service.Service{
		Name: service.Name{Namespace: "ns", Name: "web"}, Families: []dataplane.Family{dataplane.IPv4},
		Policy: service.Policy{ExternalLocal: true}, Ports: []service.Port{{Protocol: dataplane.TCP, Port: 80, NodePort: 30080}},
		VIPs: service.VIPs{External: []netip.Addr{netip.MustParseAddr("192.168.9.9"), netip.MustParseAddr("203.0.113.1")}},
	})
	objects, _ := Service(view, facts, service.Options{Scheduler: "rr"}, portMark)
	got := map[string]uint32{}
	for _, entry := range objects.Entries {
		if entry.Set == InternalMark {
			got[entry.Addr.String()] = entry.Mark
		}
	}
	if got["192.168.9.9"] != 80|service.DefaultMark || got["203.0.113.1"] != 80 {
		t.Errorf("marks %v", got)
	}
}
