package netfilter

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
)

// iptablesMode are the rules that kube-proxy 1.37.2 makes in its mode iptables for a Service with a NodePort and a
// load-balancer IP with source ranges, and one without endpoints, in the order in which iptables takes them.
func iptablesMode() []string {
	const svc, sep, ext, fw, svl = "KUBE-SVC-ERIFXISQEP7F7OF4", "KUBE-SEP-CZPTDRZWKG3VJ27M", "KUBE-EXT-ERIFXISQEP7F7OF4", "KUBE-FW-ERIFXISQEP7F7OF4", "KUBE-SVL-ERIFXISQEP7F7OF4"
	const isNew = "-m conntrack --ctstate NEW "
	rules := []string{"-t mangle -N KUBE-PROXY-CANARY", "-t nat -N KUBE-PROXY-CANARY", "-t filter -N KUBE-PROXY-CANARY"}
	for _, chain := range []string{"KUBE-SERVICES", "KUBE-NODEPORTS", svc, sep, ext, fw, svl} {
		rules = append(rules, "-t nat -N "+chain)
	}
	for _, chain := range []string{"KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL"} {
		rules = append(rules, "-t filter -N "+chain)
	}
	return append(rules,
		"-t nat -I OUTPUT -m comment --comment portals -j KUBE-SERVICES",
		"-t nat -A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j "+svc,
		"-t nat -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
		"-t nat -A KUBE-NODEPORTS -d 192.0.2.0/24 -p tcp -m tcp --dport 30080 -j "+ext,
		"-t nat -A "+ext+" -j "+svc, "-t nat -A "+fw+" -j "+ext, "-t nat -A "+svl+" -j "+sep,
		"-t nat -A "+svc+" -m statistic --mode random --probability 0.5 -j "+sep,
		"-t nat -A "+sep+" -p tcp -m tcp -j DNAT --to-destination 10.1.0.1:8080",
		"-t filter -I INPUT "+isNew+"-m comment --comment external -j KUBE-EXTERNAL-SERVICES",
		"-t filter -I FORWARD "+isNew+"-m comment --comment external -j KUBE-EXTERNAL-SERVICES",
		"-t filter -I INPUT -m comment --comment health -j KUBE-NODEPORTS",
		"-t filter -I OUTPUT "+isNew+"-m comment --comment portals -j KUBE-SERVICES",
		"-t filter -I OUTPUT "+isNew+"-m comment --comment kubernetes!load!balancer!firewall -j KUBE-PROXY-FIREWALL",
		"-t filter -A KUBE-SERVICES -d 10.96.0.11/32 -p tcp -m tcp --dport 80 -j REJECT",
	)
}

// beside are rules of the kubelet and of others that look like those.
func beside() []string {
	return []string{
		"-t nat -N KUBE-MARK-DROP", "-t nat -A KUBE-MARK-DROP -j MARK --set-mark 0x8000",
		"-t filter -N KUBE-FIREWALL", "-t filter -A INPUT -j KUBE-FIREWALL", "-t filter -A KUBE-FIREWALL -s 127.0.0.0/8 -j DROP",
		"-t mangle -N KUBE-IPTABLES-HINT", "-t mangle -N KUBE-KUBELET-CANARY",
		"-t nat -N KUBE-SVC-OTHER", "-t nat -A PREROUTING -j KUBE-SVC-OTHER", "-t nat -N KUBE-SVC-erifxisqep7f7of4",
		"-t nat -N KUBE-POD-ERIFXISQEP7F7OF4", "-t filter -N KUBE-SVC-ERIFXISQEP7F7OF4",
		"-t filter -A FORWARD -m conntrack --ctstate NEW -j ACCEPT",
	}
}

func (n *node) runAll(commands []string) {
	n.Helper()
	for _, command := range commands {
		args := strings.Fields(command)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "!", " ")
		}
		n.iptables(dataplane.IPv4, args...)
	}
}

// everything is what iptables-save prints of chains and rules for IPv4, without counters.
func (n *node) everything() (lines []string) {
	n.Helper()
	for line := range strings.Lines(n.command(program(dataplane.IPv4, n.variant, "save"))) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " [")
		if strings.HasPrefix(line, ":") || strings.HasPrefix(line, "-A ") {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// B51: what kube-proxy's mode iptables has left goes when ours is put in its place, in both variants; what the kubelet and others
// have stays, and so does all of it while tables are spared.
func TestB51IptablesModeIsSucceeded(t *testing.T) {
	onNodes(t, func(n *node) {
		n.rulesets = n.rulesets[:1]
		n.rulesets[0].Chains = append(n.rulesets[0].Chains, dataplane.Chain{Table: dataplane.NAT, Name: "KUBE-SERVICES",
			Rules: []dataplane.Rule{{Action: dataplane.Return{}}}}, dataplane.Chain{Table: dataplane.Filter, Name: "KUBE-PROXY-FIREWALL"})
		n.rulesets[0].Jumps = append(n.rulesets[0].Jumps, dataplane.Jump{Table: dataplane.NAT, From: "OUTPUT", To: "KUBE-SERVICES", Comment: "ours"})
		n.runAll(beside())
		n.ensure()
		want := n.everything()
		if _, err := n.driver.Remove(n.Context(), n.rulesets); err != nil {
			n.Fatal(err)
		}
		n.runAll(iptablesMode())
		n.spares()
		repaired, err := n.driver.Succeed(n.Context(), n.rulesets)
		if err != nil || !slices.Contains(repaired, "IPv4 table filter: 4 chains of kube-proxy's mode iptables removed") {
			n.Errorf("%v, %q", err, repaired)
		}
		got := n.everything()
		for i, line := range got { // the jump that was there keeps its comment
			got[i] = strings.Replace(line, "--comment portals", "--comment ours", 1)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			n.Errorf("after taking over, -wanted +got:\n%s", diff)
		}
		if _, spared, err := n.driver.EnsureSparing(n.Context(), n.rulesets); err != nil || spared {
			n.Errorf("afterwards something is spared: %v, %v", spared, err)
		}
		n.requireSteadyOf(1)
	})
}

// spares checks that a table with somebody else's rules in our chains is left as it is, and one without gets ours.
func (n *node) spares() {
	n.Helper()
	ofTable := func(name string) string {
		return n.command(strings.TrimSuffix(program(dataplane.IPv4, n.variant, ""), "-"), "-t", name, "-S")
	}
	nat, mangle := ofTable("nat"), ofTable("mangle")
	repaired, spared, err := n.driver.EnsureSparing(n.Context(), n.rulesets)
	if err != nil || !spared || !slices.ContainsFunc(repaired, func(line string) bool { return strings.Contains(line, "table mangle") }) {
		n.Errorf("spared %v, repaired %q, %v", spared, repaired, err)
	}
	if diff := cmp.Diff(nat, ofTable("nat")); diff != "" {
		n.Errorf("table nat was to be spared, -before +after:\n%s", diff)
	}
	if ofTable("mangle") == mangle {
		n.Error("table mangle, where nothing of others stands, has not got ours")
	}
}

// requireSteadyOf checks that Ensure finds nothing to do in so many families.
func (n *node) requireSteadyOf(families uint64) {
	n.Helper()
	if repaired, executions := n.ensure(); len(repaired) > 0 || executions != families {
		n.Errorf("Ensure of what is there repaired %q with %d executions", repaired, executions)
	}
}

// A chain of the other mode to which somebody else leads cannot go. It is emptied, so that it decides nothing, and keeps
// nothing else from going.
func TestB51ChainOfIptablesModeThatOthersUse(t *testing.T) {
	onNodes(t, func(n *node) {
		n.rulesets = n.rulesets[:1]
		n.runAll(iptablesMode())
		n.runAll([]string{"-t nat -A PREROUTING -s 192.0.2.7 -j KUBE-SVC-ERIFXISQEP7F7OF4"})
		repaired, err := n.driver.Succeed(n.Context(), n.rulesets)
		if err != nil || !slices.ContainsFunc(repaired, func(line string) bool {
			return strings.Contains(line, "chain KUBE-SVC-ERIFXISQEP7F7OF4 of kube-proxy's mode iptables emptied, and kept for a rule of others (-A PREROUTING -s 192.0.2.7/32")
		}) {
			n.Errorf("%v, %q", err, repaired)
		}
		left := slices.DeleteFunc(n.everything(), func(line string) bool { return !strings.Contains(line, "KUBE-S") })
		for _, line := range left {
			if strings.Contains(line, "KUBE-SEP-") || strings.HasPrefix(line, "-A KUBE-SVC-") {
				n.Errorf("left: %s", line)
			}
		}
	})
}

// B51: the table of kube-proxy's mode nftables goes whole, in the family that is asked for; other tables stay.
func TestB51NFTablesModeIsRemoved(t *testing.T) {
	kerneltest.Netns(t)
	n := &node{T: t}
	for _, command := range []string{
		"add table ip kube-proxy", "add chain ip kube-proxy services", "add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }",
		"add element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 : goto services }", "add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority dstnat ; }",
		"add rule ip kube-proxy nat-prerouting ip daddr . meta l4proto . th dport vmap @service-ips", "add table ip6 kube-proxy", "add table ip kube-proxy2", "add table inet kube-proxy",
	} {
		n.command("nft", command)
	}
	for i, want := range []bool{true, false} {
		present, err := NFTablesMode{}.Present(t.Context(), dataplane.IPv4)
		if err != nil || present != want {
			t.Errorf("look %d: %v, %v", i+1, present, err)
		}
		if err := (NFTablesMode{}).Remove(t.Context(), dataplane.IPv4); err != nil {
			t.Errorf("removal %d: %v", i+1, err)
		}
	}
	left := strings.Fields(strings.ReplaceAll(n.command("nft", "list", "tables"), "table ", ""))
	slices.Sort(left)
	if diff := cmp.Diff([]string{"inet", "ip", "ip6", "kube-proxy", "kube-proxy", "kube-proxy2"}, left); diff != "" {
		t.Errorf("tables, -want +got:\n%s", diff)
	}
}

// B51, B03: rules of an earlier run with other settings, which refer to all the sets that ours do, are replaced at once; those of
// others are left until the sets have entries.
func TestB51OccupiedTables(t *testing.T) {
	rules := func(lines ...string) []string { return lines }
	const (
		served  = "-A KUBE-SERVICES -m set ! --match-set KUBE-SERVED-IPS dst -j RETURN"
		pods    = "-A KUBE-SERVICES ! -s 10.0.0.0/8 -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ"
		bridge  = "-A KUBE-SERVICES ! -i cni0 -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ"
		address = "-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-ERIFXISQEP7F7OF4"
	)
	for _, c := range []struct {
		name       string
		want, have []string
		occupied   bool
	}{
		{"nothing there", rules(served, pods), nil, false},
		{"ours", rules(served, pods), rules(served, pods), false},
		{"ours with other settings", rules(served, bridge), rules(served, pods), false},
		{"ours with a rule more", rules(served), rules(served, pods), false},
		{"another proxy's, without a set of ours", rules(served, pods), rules(pods), true},
		{"another proxy's, without sets", rules(served, pods), rules(address), true},
		{"ours need no set", rules("-A KUBE-SERVICES -j RETURN"), rules(address), true},
	} {
		want := table{name: dataplane.NAT, chains: []chain{{"KUBE-SERVICES", c.want}}}
		if got := occupied(want, savedTable{chains: map[string][]string{"KUBE-SERVICES": c.have}}); got != c.occupied {
			t.Errorf("%s: occupied %v", c.name, got)
		}
	}
}
