package differential

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	someServers = `-A -t 10.96.0.1:80 -s rr -p 60
-a -t 10.96.0.1:80 -r 10.244.1.2:8080 -m -w 1
-A --sctp-service [fd00::1]:80 -s mh -b mh-port
`
	someSets = `create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1234
add KUBE-CLUSTER-IP 10.96.0.1,tcp:80
create KUBE-NODE-PORT-TCP bitmap:port range 0-65535
create cali40 hash:net
add cali40 10.0.0.0/8
`
)

func TestParseState(t *testing.T) {
	got := ParseState(someServers, someSets, []netip.Prefix{netip.MustParsePrefix("10.96.0.1/32")})
	var lines []string
	for item := range got {
		lines = append(lines, item.String())
	}
	slices.Sort(lines)
	want := []string{
		"ip addr add 10.96.0.1/32 dev kube-ipvs0",
		"ipset add KUBE-CLUSTER-IP 10.96.0.1,tcp:80",
		"ipset create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536 bucketsize 12",
		"ipset create KUBE-NODE-PORT-TCP bitmap:port range 0-65535",
		"ipvsadm -A --sctp-service [fd00::1]:80 -s mh -b mh-port",
		"ipvsadm -A -t 10.96.0.1:80 -s rr -p 60",
		"ipvsadm -a -t 10.96.0.1:80 -r 10.244.1.2:8080 -m -w 1",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

// kernel builds a state of lines as the tools print them; addresses stand alone on a line.
func kernel(text string) State {
	var addresses []netip.Prefix
	for line := range strings.Lines(text) {
		if prefix, err := netip.ParsePrefix(strings.TrimSpace(line)); err == nil {
			addresses = append(addresses, prefix)
		}
	}
	return ParseState(text, text, addresses)
}

// ruleTest is a pair that one rule alone allows, and what it becomes when something about it is wrong.
type ruleTest struct {
	rule         string
	theirs, ours string
	wrong        string // further lines of the daemon's, or instead of them, with which it is not allowed
	replaces     bool
}

func ruleTests() []ruleTest {
	return []ruleTest{
		{rule: ruleEmpty, theirs: "-A -t 10.96.0.1:80 -s rr", ours: "add KUBE-NO-ENDPOINTS 10.96.0.1,tcp:80", wrong: "add KUBE-NO-ENDPOINTS 10.96.0.1,udp:80", replaces: true},
		{rule: ruleEmpty, theirs: "-A -u [fd00::1]:80 -s rr", ours: "add KUBE-6-NO-LOCAL fd00::1,udp:80", wrong: "add KUBE-NO-LOCAL fd00::1,udp:80", replaces: true},
		{rule: ruleRemote, theirs: "-A -t 10.96.0.1:80 -s rr\n-a -t 10.96.0.1:80 -r 10.244.2.2:80 -m -w 1", ours: "add KUBE-NO-LOCAL 10.96.0.1,tcp:80",
			wrong: "add KUBE-LOOP-BACK 10.244.9.9,tcp:80,10.244.9.9"},
		{rule: ruleFallback, theirs: "-A -t 10.96.0.1:80 -s mh -b mh-port", ours: "-A -t 10.96.0.1:80 -s mh -b mh-fallback,mh-port",
			wrong: "-A -t 10.96.0.1:80 -s mh -b mh-fallback", replaces: true},
		{rule: ruleFallback, theirs: "-A -t 10.96.0.1:80 -s sh -p 60", ours: "-A -t 10.96.0.1:80 -s sh -p 60 -b sh-fallback",
			wrong: "-A -t 10.96.0.1:80 -s sh -p 90 -b sh-fallback", replaces: true},
		{rule: ruleOther, theirs: "172.18.0.12/32\nadd KUBE-IPVS-IPS 172.18.0.12", ours: "", wrong: "10.0.0.1/32"},
		{rule: ruleOther, theirs: "-A -t 172.18.0.12:30000 -s rr\n-a -t 172.18.0.12:30000 -r 10.0.0.9:80 -m -w 1\nadd KUBE-NODE-PORT-LOCAL-SCTP-HASH 172.18.0.12,sctp:30001",
			ours: "", wrong: "-A -t 172.18.0.12:30002 -s rr"},
		{rule: ruleOther, theirs: "-A -u 172.18.0.12:30000 -s rr", ours: "", wrong: "-A -u 172.18.0.12:80 -s rr"},
		{rule: ruleSources, theirs: "", ours: "add KUBE-LOAD-BALANCER-FW 10.0.0.1,tcp:80\n" +
			"add KUBE-LOAD-BALANCER-SOURCE-CIDR 10.0.0.1,tcp:80,0.0.0.0/1\nadd KUBE-LOAD-BALANCER-SOURCE-CIDR 10.0.0.1,tcp:80,128.0.0.0/1",
			wrong: "add KUBE-LOAD-BALANCER-FW 10.0.0.2,tcp:80"},
		{rule: marks, theirs: "add KUBE-EXTERNAL-IP-LOCAL 10.0.0.1,tcp:80", ours: "add KUBE-EXTERNAL-IP-LOCAL 10.0.0.1,tcp:80\n" +
			"add KUBE-INTERNAL-MARK 10.0.0.1,tcp:80 skbmark 0x5\n-A -f 5 -s rr\n-A -f 16389 -s rr\n-a -f 5 -r 10.0.0.9:80 -m -w 1", wrong: "-A -f 6 -s rr"},
		{rule: marks, theirs: "add KUBE-6-NODE-PORT-LOCAL-TCP 30000", ours: "add KUBE-6-NODE-PORT-LOCAL-TCP 30000\n" +
			"add KUBE-6-INTERNAL-MARK fd00:172:18::b,tcp:30000 skbmark 0x5/0xffffffff\n-A -f 5 -6 -s rr", wrong: "-A -f 5 -s rr"},
		{rule: ruleHealth, theirs: "-A -t [fd00:172:18::b]:30000 -s rr\n-A -t 172.18.0.11:1000 -s rr",
			ours:  "-A -t [fd00:172:18::b]:30000 -s rr\n-A -t 172.18.0.11:1000 -s rr\nadd KUBE-HEALTH-CHECK-NODE-PORT 32000",
			wrong: "add KUBE-6-HEALTH-CHECK-NODE-PORT 32000"},
		{rule: ruleBuckets, theirs: "create KUBE-CLUSTER-IP hash:ip,port family inet bucketsize 12", ours: "create KUBE-CLUSTER-IP hash:ip,port family inet",
			wrong: "create KUBE-CLUSTER-IP hash:ip,port family inet6", replaces: true},
		{rule: nodePortIPs, theirs: "", ours: "create KUBE-NODE-PORT-IPS hash:ip\nadd KUBE-NODE-PORT-IPS 172.18.0.11", wrong: "add KUBE-NODE-PORT-IPS 172.18.0.12"},
		{rule: servedIPs, theirs: "-A -u [fd00::1]:80 -s rr", ours: "-A -u [fd00::1]:80 -s rr\nadd KUBE-6-SERVED-IPS fd00::1\nadd KUBE-SERVED-IPS 172.18.0.11",
			wrong: "add KUBE-SERVED-IPS 10.0.0.1"},
		{rule: noEndpoints, theirs: "", ours: "create KUBE-6-NO-ENDPOINTS hash:ip,port", wrong: "add KUBE-6-NO-ENDPOINTS fd00::1,tcp:80"},
		{rule: noLocal, theirs: "", ours: "create KUBE-NO-LOCAL hash:ip,port", wrong: "add KUBE-NO-LOCAL 10.0.0.1,tcp:80"},
	}
}

func TestRules(t *testing.T) {
	tested := map[string]bool{}
	for _, test := range ruleTests() {
		t.Run(test.rule, func(t *testing.T) {
			tested[test.rule] = true
			pair := Pair{Theirs: kernel(test.theirs), Ours: kernel(test.ours), OtherNodes: []netip.Addr{netip.MustParseAddr("172.18.0.12")},
				NodePorts: []netip.Addr{netip.MustParseAddr("172.18.0.11"), netip.MustParseAddr("fd00:172:18::b")}}
			report := Compare(pair, Rules())
			if err := report.Err(); err != nil {
				t.Errorf("meant to be allowed: %v", err)
			}
			if len(report.Allowed[test.rule]) == 0 {
				t.Errorf("allowed by %v", report.Allowed)
			}
			if wrong := test.ours + "\n" + test.wrong; test.replaces {
				pair.Ours = kernel(test.wrong)
			} else {
				pair.Ours = kernel(wrong)
			}
			if Compare(pair, Rules()).Err() == nil {
				t.Errorf("meant to differ with %q", test.wrong)
			}
		})
	}
	for _, rule := range Rules() {
		if !tested[rule.Name] {
			t.Errorf("rule %q has no test", rule.Name)
		}
	}
}

// Local endpoints that kube-proxy serves are none of the rule's business.
func TestLocalEndpointsMayNotBeMissing(t *testing.T) {
	pair := Pair{
		Theirs: kernel("-A -t 10.96.0.1:80 -s rr\n-a -t 10.96.0.1:80 -r 10.244.1.2:80 -m -w 1\nadd KUBE-LOOP-BACK 10.244.1.2,tcp:80,10.244.1.2"),
		Ours:   kernel("add KUBE-NO-LOCAL 10.96.0.1,tcp:80\nadd KUBE-LOOP-BACK 10.244.1.2,tcp:80,10.244.1.2"),
	}
	if got := len(Compare(pair, Rules()).Differences); got != 3 {
		t.Errorf("%d differences, want both servers and the entry", got)
	}
}

func TestWhatOnlyOneHasIsADifference(t *testing.T) {
	pair := Pair{Theirs: kernel(someServers + someSets), Ours: kernel("10.96.0.1/32")}
	report := Compare(pair, Rules())
	if got := len(report.Differences); got != 7 {
		t.Errorf("%d differences, want all 6 of theirs and 1 of ours", got)
	}
	if report.Err() == nil || !strings.Contains(report.Err().Error(), "\n+ ip addr add 10.96.0.1/32") {
		t.Errorf("error is %v", report.Err())
	}
	if err := Compare(Pair{Theirs: pair.Theirs, Ours: pair.Theirs}, nil).Err(); err != nil {
		t.Errorf("the same differs: %v", err)
	}
}

// Rules that nothing needs would only hide things. That a scenario really uses what it says is checked when it runs.
func TestEveryRuleIsUsedByAScenario(t *testing.T) {
	used := map[string]bool{servedIPs: true, ruleBuckets: true, ruleFallback: true, ruleHealth: true} // by all Services, by all sets, and by the settings that scenarios run with
	for _, s := range scenarios() {
		for _, name := range s.uses {
			used[name] = true
		}
	}
	for _, rule := range Rules() {
		if !used[rule.Name] {
			t.Errorf("rule %q is used by no scenario: remove it or add one", rule.Name)
		}
		delete(used, rule.Name)
		if rule.Why == "" || !strings.HasPrefix(rule.ID, "P") {
			t.Errorf("rule %q does not say why, or which promise asks for it", rule.Name)
		}
	}
	for name := range used {
		t.Errorf("scenarios use a rule %q that there is not", name)
	}
}

func TestOwners(t *testing.T) {
	ops := []Op{aService(1, exposed(1), externalLocal(1)), aService(2)}
	ops[1].Service.Spec.ExternalIPs, ops[1].Service.Spec.Ports[0].Port = []string{"198.18.255.1"}, 1008
	tests := []struct {
		item Item
		want []string
	}{
		{Item{VirtualServer, "-t 10.96.10.11:80", "-s rr"}, []string{"s1"}},
		{Item{RealServer, "-t [2001:db8:19::1001]:80", "-r [fd00:10:244:1::10]:8080 -m -w 1"}, []string{"s1"}},
		{Item{VirtualServer, "-t 172.18.0.11:30004", "-s rr"}, []string{"s1"}},
		{Item{Entry, "KUBE-NODE-PORT-TCP", "30004"}, []string{"s1"}},
		{Item{Entry, "KUBE-HEALTH-CHECK-NODE-PORT", "32001"}, []string{"s1"}},
		{Item{Entry, "KUBE-EXTERNAL-IP", "198.18.255.1,tcp:1008"}, []string{"s2"}},
		{Item{Entry, "KUBE-EXTERNAL-IP", "198.18.255.1,tcp:1009"}, nil},
		{Item{Address, "", "10.96.10.12/32"}, []string{"s2"}},
		{Item{Entry, "KUBE-LOOP-BACK", "10.244.1.16,tcp:8080,10.244.1.16"}, nil},
	}
	for _, test := range tests {
		if got := Owners(test.item, ops); !slices.Equal(got, test.want) {
			t.Errorf("owners of %s are %q, want %q", test.item, got, test.want)
		}
	}
}
