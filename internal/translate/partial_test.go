package translate

import (
	"slices"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// without is a host with the rules that are left when it does not have a set.
func without(t *testing.T, missing string, entries []dataplane.Entry) host {
	t.Helper()
	rules, left := Rules(dataplane.IPv4, service.Options{Masquerade: cidr()}).Without(func(set string) bool { return set == missing })
	if len(left) == 0 || slices.Contains(left, "") {
		t.Errorf("without %s, rules %q are left out", missing, left)
	}
	h := hostOf(t, rules, entries)
	delete(h.Types, missing) // a rule that refers to it now fails the test
	return h
}

// A set that cannot be had must not cost more than what it is for: whoever is let in goes on being let in, unless that set
// itself says that he may.
func TestP22RulesWithoutASet(t *testing.T) {
	passing := []string{
		"tcp 10.1.0.9 > 10.96.0.1:80", "tcp 172.16.0.9 > 203.0.113.1:80", "udp 172.16.0.9 > 198.51.100.1:80", "sctp 172.16.0.9 > 198.51.100.3:80",
		"tcp 172.16.0.9 > 192.168.0.1:30080", "tcp 172.16.0.9 > 192.168.0.1:22", "tcp 10.9.9.9 > 203.0.113.6:80", "tcp 10.1.0.9 > 203.0.113.4:80", "icmp 10.1.0.9 > 10.96.0.1",
	}
	allows := map[string]string{ // by set, who needs it
		LoadBalancerSourceCIDR: "tcp 10.9.9.9 > 203.0.113.6:80", InternalMark: "tcp 10.1.0.9 > 203.0.113.4:80",
	}
	entries := town(t)
	for _, set := range Sets([]dataplane.Family{dataplane.IPv4}) {
		for _, text := range passing {
			p := packetOf(t, text)
			verdict := without(t, set.Name, entries).pass(dataplane.Filter, "INPUT", &p)
			if refused := verdict != "" && verdict != "accept"; refused != (allows[set.Name] == text) {
				t.Errorf("without %s, %s: %q", set.Name, text, verdict)
			}
		}
	}
}

// What is left does its work.
func TestP22RulesBesideAMissingSet(t *testing.T) {
	for _, c := range []struct{ missing, packet, want string }{
		{ClusterIP, "tcp 172.16.0.9 > 203.0.113.6:80", "drop"}, // source ranges
		{ClusterIP, "tcp 10.1.0.9 > 10.96.0.5:80", "reset"},    // no endpoints
		{ClusterIP, "tcp 172.16.0.9 > 203.0.113.4:80", "drop"}, // no local endpoints
		{LoopBack, "tcp 10.1.0.9 > 10.96.0.1:22", "reset"},     // no service port
		{LoadBalancerSourceCIDR, "tcp 172.16.0.9 > 203.0.113.6:80", "drop"},
		{LoadBalancerSourceIP, "tcp 172.16.0.9 > 203.0.113.6:80", "drop"},
	} {
		p := packetOf(t, c.packet)
		if got := without(t, c.missing, town(t)).pass(dataplane.Filter, "INPUT", &p); got != c.want {
			t.Errorf("without %s, %s: %q, want %q", c.missing, c.packet, got, c.want)
		}
	}
	for missing, text := range map[string]string{LoopBack: "tcp 172.16.0.9 > 203.0.113.1:80", LoadBalancerLocal: "tcp 172.16.0.9 > 203.0.113.1:80",
		ClusterIP: "tcp 172.16.0.9 > 192.168.0.1:30080", NodePortLocalTCP: "tcp 172.16.0.9 > 192.168.0.1:30080"} {
		p := packetOf(t, text)
		without(t, missing, town(t)).pass(dataplane.NAT, "PREROUTING", &p)
		if p.Mark != service.DefaultMark {
			t.Errorf("without %s, %s is not masqueraded", missing, text)
		}
	}
}
