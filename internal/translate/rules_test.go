package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// town is a node with Services of every kind that the rules tell apart. Its pods are in 10.1.0.0/24; NodePorts are on
// 192.168.0.1, not on 192.168.7.1.
func town(t *testing.T) []dataplane.Entry {
	t.Helper()
	facts := service.Facts{
		Node: service.Node{Name: "n1", Addresses: parseAddrs([]string{"192.168.0.1"})}, Families: dataplane.Families(),
		Local: parseAddrs([]string{"192.168.0.1", "192.168.7.1"}), NodePortAddrs: parseAddrs([]string{"192.168.0.1", "fd00::1"}),
	}
	here := service.Endpoint{Addr: netip.MustParseAddr("10.1.0.1"), Node: "n1", Ready: true, Serving: true}
	there := service.Endpoint{Addr: netip.MustParseAddr("10.1.1.1"), Node: "n2", Ready: true, Serving: true}
	extLocal := service.Policy{ExternalLocal: true, HealthCheckNodePort: 30999}
	ranged := service.Policy{SourceRanges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	entries := Node(facts, service.Options{}).Entries
	for _, s := range []struct {
		number   int
		port     uint16
		nodePort uint16
		policy   service.Policy
		behind   []service.Endpoint
	}{
		{1, 80, 30080, service.Policy{}, []service.Endpoint{here, there}},
		{2, 30080, 0, service.Policy{}, []service.Endpoint{here}}, // its port is the NodePort of the first (P17)
		{3, 80, 30083, extLocal, []service.Endpoint{here, there}},
		{4, 80, 30084, extLocal, []service.Endpoint{there}},
		{5, 80, 30085, service.Policy{}, nil},
		{6, 80, 0, ranged, []service.Endpoint{here}},
		{7, 80, 0, ranged, nil},
	} {
		view := townService(s.number, s.port, s.nodePort, s.policy, s.behind)
		objects, problems := Service(view, facts, service.Options{Scheduler: "rr"}, portMark)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		entries = append(entries, objects.Entries...)
	}
	return entries
}

// townService is the Service with a number: 10.96.0.N, 198.51.100.N, 203.0.113.N and fd00:96::N on TCP, UDP and SCTP.
func townService(n int, number, nodePort uint16, policy service.Policy, behind []service.Endpoint) service.View {
	s := service.Service{
		Name: service.Name{Namespace: "town", Name: fmt.Sprint(n)}, Policy: policy, Families: dataplane.Families(),
		VIPs: service.VIPs{
			Cluster:      parseAddrs([]string{fmt.Sprint("10.96.0.", n), fmt.Sprint("fd00:96::", n)}),
			External:     parseAddrs([]string{fmt.Sprint("198.51.100.", n)}),
			LoadBalancer: parseAddrs([]string{fmt.Sprint("203.0.113.", n)}),
		},
	}
	slice := service.Slice{Endpoints: behind}
	for _, protocol := range protocols() {
		s.Ports = append(s.Ports, service.Port{Protocol: protocol, Port: number, NodePort: nodePort})
		slice.Ports = append(slice.Ports, service.SlicePort{Protocol: protocol, Port: 8080})
	}
	return service.NewView(s, slice)
}

// cidr tells pods by their address; the packets of these tests from 10.1.0.0/24 are pods' own.
func cidr() service.Masquerade {
	return service.Masquerade{Local: service.Detector{
		CIDRs: []netip.Prefix{netip.MustParsePrefix("fd00:1::/64"), netip.MustParsePrefix("10.1.0.0/24")},
	}}
}

// masqueradeCase is the first packet of a connection, and whether it is to leave with an address of the node.
type masqueradeCase struct {
	name       string
	masquerade service.Masquerade
	hook       string
	packet     string
	want       bool
}

func clusterIPCases() []masqueradeCase {
	bridge := service.Masquerade{Local: service.Detector{Interface: "cni0"}}
	prefix := service.Masquerade{Local: service.Detector{Interface: "veth+"}}
	wide := service.Masquerade{Local: service.Detector{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	all := service.Masquerade{All: true}
	return []masqueradeCase{
		{"B03 pod to ClusterIP", cidr(), "PREROUTING", "tcp 10.1.0.9 > 10.96.0.1:80", false},
		{"B03 pod to ClusterIP, bridge", bridge, "PREROUTING", "tcp 10.1.0.9 > 10.96.0.1:80 in=cni0", false},
		{"B03 pod to ClusterIP, prefix", prefix, "PREROUTING", "tcp 10.1.0.9 > 10.96.0.1:80 in=veth12", false},
		{"pod to ClusterIP, all", all, "PREROUTING", "udp 10.1.0.9 > 10.96.0.1:80", true},
		{"outside to ClusterIP", cidr(), "PREROUTING", "sctp 172.16.0.9 > 10.96.0.1:80", true},
		{"outside to ClusterIP, bridge", bridge, "PREROUTING", "tcp 172.16.0.9 > 10.96.0.1:80 in=eth0", true},
		{"outside to ClusterIP, unknown", service.Masquerade{}, "PREROUTING", "tcp 172.16.0.9 > 10.96.0.1:80", false},
		{"P19 node to ClusterIP", service.Masquerade{}, "OUTPUT", "tcp 10.96.0.1 > 10.96.0.1:80", true},
		{"P19 node to ClusterIP, bridge", bridge, "OUTPUT", "udp 10.96.0.1 > 10.96.0.1:80", true},
		{"P19 node to ClusterIP, wide CIDR", wide, "OUTPUT", "tcp 10.96.0.1 > 10.96.0.1:80", true},
		{"P19 one VIP to another", service.Masquerade{}, "OUTPUT", "tcp 10.96.0.2 > 10.96.0.1:80", true},
		{"ping", cidr(), "PREROUTING", "icmp 172.16.0.9 > 10.96.0.1", false},
		{"another port", cidr(), "PREROUTING", "tcp 172.16.0.9 > 10.96.0.1:81", false},
		{"node to ClusterIP from its own address", service.Masquerade{}, "OUTPUT", "tcp 192.168.0.1 > 10.96.0.1:80", false},
		{"loopback", all, "OUTPUT", "tcp 127.0.0.1 > 10.96.0.1:80", false},
		{"IPv6 loopback", all, "OUTPUT", "tcp ::1 > [fd00:96::1]:80", false},
		{"B03 IPv6 pod to ClusterIP", cidr(), "PREROUTING", "tcp fd00:1::9 > [fd00:96::1]:80", false},
		{"IPv6 outside to ClusterIP", cidr(), "PREROUTING", "tcp 2001:db8::9 > [fd00:96::1]:80", true},
		{"P19 IPv6 node to ClusterIP", service.Masquerade{}, "OUTPUT", "tcp fd00:96::1 > [fd00:96::1]:80", true},
	}
}

func otherVIPCases() []masqueradeCase {
	return []masqueradeCase{
		{"P19 node to LB IP, Cluster", cidr(), "OUTPUT", "tcp 203.0.113.1 > 203.0.113.1:80", true},
		{"P19 node to LB IP, Local", cidr(), "OUTPUT", "tcp 203.0.113.3 > 203.0.113.3:80", true},
		{"P19 node to externalIP, Local", cidr(), "OUTPUT", "udp 198.51.100.3 > 198.51.100.3:80", true},
		{"node to elsewhere", cidr(), "OUTPUT", "tcp 192.168.0.1 > 8.8.8.8:80", false},
		{"B06 outside to LB IP", cidr(), "PREROUTING", "tcp 172.16.0.9 > 203.0.113.1:80", true},
		{"B24 outside to LB IP, Local", cidr(), "PREROUTING", "tcp 172.16.0.9 > 203.0.113.3:80", false},
		{"B05 outside to externalIP", cidr(), "PREROUTING", "tcp 172.16.0.9 > 198.51.100.1:80", true},
		{"B24 outside to externalIP, Local", cidr(), "PREROUTING", "tcp 172.16.0.9 > 198.51.100.3:80", false},
		{"B04 outside to NodePort, TCP", cidr(), "PREROUTING", "tcp 172.16.0.9 > 192.168.0.1:30080", true},
		{"B04 outside to NodePort, UDP", cidr(), "PREROUTING", "udp 172.16.0.9 > 192.168.0.1:30080", true},
		{"B04 outside to NodePort, SCTP", cidr(), "PREROUTING", "sctp 172.16.0.9 > 192.168.0.1:30080", true},
		{"B04 node to its own NodePort", cidr(), "OUTPUT", "tcp 192.168.0.1 > 192.168.0.1:30080", true},
		{"B24 outside to NodePort, Local, TCP", cidr(), "PREROUTING", "tcp 172.16.0.9 > 192.168.0.1:30083", false},
		{"B24 outside to NodePort, Local, SCTP", cidr(), "PREROUTING", "sctp 172.16.0.9 > 192.168.0.1:30083", false},
		{"B44 an address without NodePorts", cidr(), "PREROUTING", "tcp 172.16.0.9 > 192.168.7.1:30080", false},
		{"P17 ClusterIP port equal to a NodePort", cidr(), "PREROUTING", "tcp 10.1.0.9 > 10.96.0.2:30080", false},
		{"P17 the same from the node", service.Masquerade{}, "OUTPUT", "tcp 192.168.0.1 > 10.96.0.2:30080", false},
		{"IPv6 outside to NodePort", cidr(), "PREROUTING", "sctp 2001:db8::9 > [fd00::1]:30080", true},
	}
}

func TestMasquerade(t *testing.T) {
	for _, c := range slices.Concat(clusterIPCases(), otherVIPCases()) {
		t.Run(c.name, func(t *testing.T) {
			p := packetOf(t, c.packet)
			p.Mark = 0x10008 // somebody else's bits
			options := service.Options{Masquerade: c.masquerade}
			host := hostOf(t, Rules(dataplane.FamilyOf(p.To), options), town(t))
			host.pass(dataplane.NAT, c.hook, &p)
			if got := p.Mark != 0x10008; got != c.want || p.Mark&^service.DefaultMark != 0x10008 {
				t.Errorf("masqueraded %v, want %v (mark %#x)", got, c.want, p.Mark)
			}
		})
	}
}

// What is served by address and port is kept from other rules in nat; NodePorts are left to compete.
func TestLeftToIPVS(t *testing.T) {
	host := hostOf(t, Rules(dataplane.IPv4, service.Options{Masquerade: cidr()}), town(t))
	for text, want := range map[string]string{
		"tcp 10.1.0.9 > 10.96.0.1:80": "accept", "udp 172.16.0.9 > 203.0.113.3:80": "accept",
		"tcp 172.16.0.9 > 198.51.100.1:80": "accept", "tcp 172.16.0.9 > 198.51.100.3:80": "accept",
		"tcp 172.16.0.9 > 192.168.0.1:30080": "", "tcp 10.1.0.9 > 10.96.0.1:81": "", "icmp 10.1.0.9 > 10.96.0.1": "",
	} {
		p := packetOf(t, text)
		if got := host.pass(dataplane.NAT, "PREROUTING", &p); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestInput(t *testing.T) {
	for _, c := range []struct{ name, packet, want string }{
		{"service port", "tcp 10.1.0.9 > 10.96.0.1:80", ""},
		{"NodePort", "tcp 172.16.0.9 > 192.168.0.1:30080", ""},
		{"P16 host port by the node's address", "tcp 172.16.0.9 > 192.168.0.1:22", ""},
		{"P16 B43 host port by ClusterIP", "tcp 10.1.0.9 > 10.96.0.1:22", "reset"},
		{"P16 B43 host port by LB IP", "udp 172.16.0.9 > 203.0.113.1:22", "port-unreachable"},
		{"P16 B43 host port by externalIP", "sctp 172.16.0.9 > 198.51.100.1:22", "protocol-unreachable"},
		{"P16 B43 ping", "icmp 10.1.0.9 > 10.96.0.1", ""},
		{"B43 path MTU", "icmp 10.1.0.9 > 10.96.0.1 RELATED", ""},
		{"P16 established", "tcp 10.1.0.9 > 10.96.0.1:22 ESTABLISHED", ""},
		{"B53 invalid", "tcp 10.1.0.9 > 10.96.0.1:22 INVALID", ""},
		{"P27 B27 ClusterIP", "tcp 10.1.0.9 > 10.96.0.5:80", "reset"},
		{"P27 B27 UDP", "udp 10.1.0.9 > 10.96.0.5:80", "port-unreachable"},
		{"P27 B27 SCTP", "sctp 10.1.0.9 > 10.96.0.5:80", "protocol-unreachable"},
		{"P27 B27 LB IP", "tcp 172.16.0.9 > 203.0.113.5:80", "reset"},
		{"P27 B27 externalIP", "tcp 172.16.0.9 > 198.51.100.5:80", "reset"},
		{"P27 B27 NodePort", "tcp 172.16.0.9 > 192.168.0.1:30085", "reset"},
		{"P27 NodePort on an address without", "tcp 172.16.0.9 > 192.168.7.1:30085", ""},
		{"P27 established", "tcp 10.1.0.9 > 10.96.0.5:80 ESTABLISHED", ""},
		{"P26 LB IP", "tcp 172.16.0.9 > 203.0.113.4:80", "drop"},
		{"P26 externalIP", "udp 172.16.0.9 > 198.51.100.4:80", "drop"},
		{"P26 NodePort", "sctp 172.16.0.9 > 192.168.0.1:30084", "drop"},
		{"P26 B24 pod to LB IP is served", "tcp 10.1.0.9 > 203.0.113.4:80", ""},
		{"P26 ClusterIP is served", "tcp 10.1.0.9 > 10.96.0.4:80", ""},
		{"P26 established", "tcp 172.16.0.9 > 203.0.113.4:80 ESTABLISHED", ""},
		{"B40 allowed", "tcp 10.9.9.9 > 203.0.113.6:80", ""},
		{"B40 denied", "tcp 172.16.0.9 > 203.0.113.6:80", "drop"},
		{"B40 denied later on", "tcp 172.16.0.9 > 203.0.113.6:80 ESTABLISHED", "drop"},
		{"B40 other addresses are free", "tcp 172.16.0.9 > 198.51.100.6:80", ""},
		{"B40 no endpoints, allowed", "tcp 10.9.9.9 > 203.0.113.7:80", "reset"},
		{"B40 no endpoints, denied", "tcp 172.16.0.9 > 203.0.113.7:80", "drop"},
		{"B41 health check", "tcp 172.16.0.9 > 192.168.0.1:30999", "accept"},
		{"B41 health check by LB IP", "tcp 172.16.0.9 > 203.0.113.3:30999", "accept"},
		{"B41 not TCP", "udp 172.16.0.9 > 192.168.0.1:30999", ""},
		{"P27 IPv6 SCTP", "sctp 2001:db8::9 > [fd00:96::5]:80", "port-unreachable"},
		{"P16 IPv6", "tcp 2001:db8::9 > [fd00:96::1]:22", "reset"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := packetOf(t, c.packet)
			host := hostOf(t, Rules(dataplane.FamilyOf(p.To), service.Options{Masquerade: cidr()}), town(t))
			if got := host.pass(dataplane.Filter, "INPUT", &p); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestForwardAndPostrouting(t *testing.T) {
	for _, c := range []struct {
		name, builtin, packet, want string
		mark                        uint32
	}{
		{"P28 marked", "FORWARD", "tcp 172.16.0.9 > 10.1.0.1:8080 marked", "accept", 1 << 14},
		{"P28 reply", "FORWARD", "tcp 10.1.0.1 > 172.16.0.9:4711 ESTABLISHED", "accept", 0},
		{"not ours", "FORWARD", "tcp 10.1.0.1 > 172.16.0.9:80", "", 0},
		{"B53 invalid", "FORWARD", "tcp 10.1.0.1 > 172.16.0.9:80 INVALID", "", 0},
		{"B03 hairpin", "POSTROUTING", "tcp 10.1.0.1 > 10.1.0.1:8080", "masquerade", 0},
		{"B03 another pod", "POSTROUTING", "tcp 10.1.0.9 > 10.1.0.1:8080", "", 0},
		{"B03 hairpin on another node", "POSTROUTING", "tcp 10.1.1.1 > 10.1.1.1:8080", "", 0},
		{"marked", "POSTROUTING", "tcp 172.16.0.9 > 10.1.0.1:8080 marked", "masquerade", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := packetOf(t, c.packet)
			table := dataplane.Filter
			if c.builtin == "POSTROUTING" {
				table = dataplane.NAT
			}
			host := hostOf(t, Rules(dataplane.IPv4, service.Options{}), town(t))
			if got := host.pass(table, c.builtin, &p); got != c.want || p.Mark != c.mark {
				t.Errorf("%q with mark %#x, want %q with %#x", got, p.Mark, c.want, c.mark)
			}
		})
	}
}

// B24, P26: clients inside the cluster are told from those outside by a mark, before IPVS sees their packets.
func TestB24MarkOfClientsInside(t *testing.T) {
	const vip, other = 80, 80 | service.DefaultMark // portMark
	bridge := service.Masquerade{Local: service.Detector{Interface: "cni0"}}
	for _, c := range []struct {
		name       string
		masquerade service.Masquerade
		hook       string
		packet     string
		want       uint32
	}{
		{"pod to LB IP", cidr(), "INPUT", "tcp 10.1.0.9 > 203.0.113.3:80", vip},
		{"pod to externalIP, bridge", bridge, "INPUT", "udp 10.1.0.9 > 198.51.100.3:80 in=cni0", vip},
		{"pod to NodePort is masqueraded", cidr(), "INPUT", "tcp 10.1.0.9 > 192.168.0.1:30083", other},
		{"established", cidr(), "INPUT", "tcp 10.1.0.9 > 203.0.113.3:80 ESTABLISHED", vip},
		{"outside to LB IP", cidr(), "INPUT", "tcp 172.16.0.9 > 203.0.113.3:80", 0},
		{"outside to LB IP, bridge", bridge, "INPUT", "tcp 10.1.0.9 > 203.0.113.3:80 in=eth0", 0},
		{"outside to NodePort", cidr(), "INPUT", "tcp 172.16.0.9 > 192.168.0.1:30083", 0},
		{"nobody said how to tell pods", service.Masquerade{}, "INPUT", "tcp 10.1.0.9 > 203.0.113.3:80", 0},
		{"pod to ClusterIP", cidr(), "INPUT", "tcp 10.1.0.9 > 10.96.0.3:80", 0},
		{"pod to a Service with policy Cluster", cidr(), "INPUT", "tcp 10.1.0.9 > 203.0.113.1:80", 0},
		{"node to LB IP is masqueraded", service.Masquerade{}, "OUTPUT", "tcp 203.0.113.3 > 203.0.113.3:80", other},
		{"node to externalIP is masqueraded", cidr(), "OUTPUT", "sctp 198.51.100.3 > 198.51.100.3:80", other},
		{"node to NodePort is masqueraded", cidr(), "OUTPUT", "udp 192.168.0.1 > 192.168.0.1:30083", other},
		{"node to ClusterIP", service.Masquerade{}, "OUTPUT", "tcp 10.96.0.3 > 10.96.0.3:80", service.DefaultMark},
		{"node to elsewhere", cidr(), "OUTPUT", "tcp 192.168.0.1 > 8.8.8.8:80", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := packetOf(t, c.packet)
			host := hostOf(t, Rules(dataplane.FamilyOf(p.To), service.Options{Masquerade: c.masquerade}), town(t))
			if verdict := host.pass(dataplane.Mangle, c.hook, &p); verdict != "" {
				t.Errorf("table mangle: %s", verdict)
			}
			if c.hook == "OUTPUT" { // nat comes after mangle, and before IPVS
				host.pass(dataplane.NAT, c.hook, &p)
			}
			if p.Mark != c.want {
				t.Errorf("mark %#x, want %#x", p.Mark, c.want)
			}
		})
	}
}

// B40, P20: the node itself is held to the source ranges before IPVS takes its packets.
func TestB40SourceRangesForTheNode(t *testing.T) {
	for text, want := range map[string]string{
		"tcp 203.0.113.6 > 203.0.113.6:80": "drop", "tcp 10.9.9.9 > 203.0.113.6:80": "",
		"tcp 192.168.0.1 > 198.51.100.6:80": "", "tcp 203.0.113.3 > 203.0.113.3:80": "",
	} {
		p := packetOf(t, text)
		host := hostOf(t, Rules(dataplane.IPv4, service.Options{}), town(t))
		if got := host.pass(dataplane.Mangle, "OUTPUT", &p); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// The jumps are the ones that kube-proxy makes, and looks for (`iptables -C`) when it takes over again.
func TestB51JumpsAndChains(t *testing.T) {
	rules := Rules(dataplane.IPv6, service.Options{})
	var got []string
	for _, j := range rules.Jumps {
		got = append(got, fmt.Sprintf("%s %s %s: %s", j.Table, j.From, j.To, j.Comment))
	}
	want := []string{
		"nat OUTPUT KUBE-SERVICES: kubernetes service portals",
		"nat PREROUTING KUBE-SERVICES: kubernetes service portals",
		"nat POSTROUTING KUBE-POSTROUTING: kubernetes postrouting rules",
		"filter FORWARD KUBE-FORWARD: kubernetes forwarding rules",
		"filter INPUT KUBE-NODE-PORT: kubernetes health check rules",
		"filter INPUT KUBE-PROXY-FIREWALL: kube-proxy firewall rules",
		"filter FORWARD KUBE-PROXY-FIREWALL: kube-proxy firewall rules",
		"filter INPUT KUBE-IPVS-FILTER: kubernetes ipvs access filter",
		"filter OUTPUT KUBE-IPVS-OUT-FILTER: kubernetes ipvs access filter",
		// Ours alone.
		"mangle INPUT KUBE-INTERNAL-MARK: kubernetes clients inside the cluster",
		"mangle OUTPUT KUBE-INTERNAL-MARK: kubernetes clients inside the cluster",
		"mangle OUTPUT KUBE-PROXY-FIREWALL: kube-proxy firewall rules",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var chains []string
	for _, c := range rules.Chains {
		chains = append(chains, string(c.Table)+" "+c.Name)
	}
	slices.Sort(chains)
	const wantChains = "filter KUBE-FORWARD,filter KUBE-IPVS-FILTER,filter KUBE-IPVS-OUT-FILTER,filter KUBE-NODE-PORT," +
		"filter KUBE-PROXY-FIREWALL,filter KUBE-SOURCE-RANGES-FIREWALL," +
		"mangle KUBE-INTERNAL-MARK,mangle KUBE-PROXY-FIREWALL,mangle KUBE-SOURCE-RANGES-FIREWALL," +
		"nat KUBE-LOAD-BALANCER,nat KUBE-MARK-MASQ,nat KUBE-NODE-PORT,nat KUBE-POSTROUTING,nat KUBE-SERVICES"
	if got := strings.Join(chains, ","); got != wantChains {
		t.Errorf("chains %s", got)
	}
}
