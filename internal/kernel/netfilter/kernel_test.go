package netfilter

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
)

// node is a fresh network namespace with a driver for one variant, on the real kernel with the real programs.
type node struct {
	*testing.T
	driver   *Driver
	variant  string
	rulesets []dataplane.Ruleset
}

// onNodes runs a test for both variants.
func onNodes(t *testing.T, test func(n *node)) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces: run `make kernel-test`")
	}
	for _, variant := range []string{Legacy, NFT} {
		t.Run(variant, func(t *testing.T) {
			kerneltest.Netns(t)
			n := &node{T: t, variant: variant}
			driver, err := Open(t.Context(), Options{Variant: variant, LockFile: filepath.Join(t.TempDir(), "lock"), LockWait: time.Second})
			if err != nil {
				t.Fatalf("open (needs the packages iptables and ipset): %v", err)
			}
			n.driver = driver
			for _, family := range dataplane.Families() {
				n.createSets(family)
				n.rulesets = append(n.rulesets, everyRule(family))
			}
			test(n)
		})
	}
}

func (n *node) createSets(family dataplane.Family) {
	ips, pairs := setNames(family)
	inet := map[dataplane.Family]string{dataplane.IPv4: "inet", dataplane.IPv6: "inet6"}[family]
	n.command("ipset", "create", ips, "hash:ip", "family", inet)
	n.command("ipset", "create", pairs, "hash:ip,port", "family", inet, "skbinfo")
}

func (n *node) command(name string, args ...string) string {
	n.Helper()
	out, err := exec.CommandContext(n.Context(), name, args...).CombinedOutput()
	if err != nil {
		n.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// iptables runs iptables or ip6tables of the node's variant.
func (n *node) iptables(family dataplane.Family, args ...string) {
	n.Helper()
	n.command(strings.TrimSuffix(program(family, n.variant, ""), "-"), args...)
}

// rules returns everything that iptables-save prints for both families, without its comments.
func (n *node) rules() []string {
	n.Helper()
	var lines []string
	for _, family := range dataplane.Families() {
		for line := range strings.Lines(n.command(program(family, n.variant, "save"))) {
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ":") {
				lines = append(lines, family.String()+" "+strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// ensure runs Ensure and returns what it repaired and how many programs it started.
func (n *node) ensure() (repaired []string, executions uint64) {
	n.Helper()
	before := n.driver.Executions()
	repaired, err := n.driver.Ensure(n.Context(), n.rulesets)
	if err != nil {
		n.Fatalf("ensure: %v", err)
	}
	return repaired, n.driver.Executions() - before
}

func (n *node) requireSteady() {
	n.Helper()
	repaired, executions := n.ensure()
	if len(repaired) > 0 || executions != 2 {
		n.Errorf("Ensure of what is there repaired %q with %d executions, want nothing with one iptables-save per family", repaired, executions)
	}
}

func TestEnsureIsIdempotentForEveryRule(t *testing.T) {
	onNodes(t, func(n *node) {
		repaired, executions := n.ensure()
		if want := 2 * (6 + 7); len(repaired) != want {
			n.Errorf("first Ensure reports %d lines, want one for each of %d chains and jumps: %q", len(repaired), want, repaired)
		}
		if executions != 2*(1+1) {
			n.Errorf("first Ensure executed %d programs, want per family a save and a restore", executions)
		}
		n.requireSteady()
		for _, rules := range n.rulesets {
			tables, err := compile(rules)
			if err != nil {
				n.Fatal(err)
			}
			n.requirePrinted(rules.Family, tables)
		}
	})
}

// requirePrinted compares with what iptables-save really prints, not by way of the driver's own parser.
func (n *node) requirePrinted(family dataplane.Family, tables []table) {
	n.Helper()
	all := n.rules()
	for _, table := range tables {
		for _, chain := range table.chains {
			var printed []string
			for _, line := range all {
				if rule, ok := strings.CutPrefix(line, family.String()+" "); ok && strings.HasPrefix(rule, "-A "+chain.name+" ") {
					printed = append(printed, rule)
				}
			}
			if diff := cmp.Diff(chain.rules, printed); diff != "" && len(chain.rules)+len(printed) > 0 {
				n.Errorf("%v %s: rendered (-) is not what iptables-save prints (+):\n%s", family, chain.name, diff)
			}
		}
	}
}

type drift struct {
	name     string
	commands []string
	repaired string
}

// drifts are ways in which a node departs from what is wanted, and how the repair is called.
func drifts() []drift {
	return []drift{
		{"jump deleted", []string{"-t nat -D PREROUTING -m comment --comment plain -j KUBE-TEST-MARK"},
			"table nat: jump PREROUTING to KUBE-TEST-MARK was missing"},
		{"jump doubled", []string{"-t nat -A PREROUTING -m comment --comment plain -j KUBE-TEST-MARK"},
			"table nat: jump PREROUTING to KUBE-TEST-MARK was there more than once"},
		{"jump moved", []string{"-t nat -D PREROUTING -j KUBE-TEST-EMPTY", "-t nat -A PREROUTING -j KUBE-TEST-EMPTY"},
			"table nat: jump PREROUTING to KUBE-TEST-EMPTY was out of order"},
		{"chain flushed", []string{"-t filter -F KUBE-TEST-FILTER"},
			`table filter: chain KUBE-TEST-FILTER differed: 0 of`},
		{"rule put into our chain", []string{"-t nat -A KUBE-TEST-EMPTY -s 192.0.2.1 -j ACCEPT"},
			`table nat: chain KUBE-TEST-EMPTY differed: 1 surplus rules, first "-A KUBE-TEST-EMPTY -s 192.0.2.1/32 -j ACCEPT"`},
		{"rule replaced", []string{"-t nat -R KUBE-TEST-MARK 1 -j MARK --set-mark 0x8000"},
			`table nat: chain KUBE-TEST-MARK differed: rule 1 was "-A KUBE-TEST-MARK -j MARK --set-xmark 0x8000/0xffffffff"`},
		{"rule deleted", []string{"-t nat -D KUBE-TEST-MARK 4"}, "table nat: chain KUBE-TEST-MARK differed: 3 of 4 rules, lacked"},
		{"chain deleted", []string{"-t mangle -F OUTPUT", "-t mangle -F KUBE-TEST-AUDIENCE", "-t mangle -X KUBE-TEST-AUDIENCE"},
			"table mangle: chain KUBE-TEST-AUDIENCE was missing"},
	}
}

func TestB36DriftIsRepairedAndNamed(t *testing.T) {
	onNodes(t, func(n *node) {
		n.rulesets = n.rulesets[:1]
		n.ensure()
		want := n.rules()
		for _, drift := range drifts() {
			for _, command := range drift.commands {
				n.iptables(dataplane.IPv4, strings.Fields(command)...)
			}
			repaired, _ := n.ensure()
			if !slices.ContainsFunc(repaired, func(line string) bool { return strings.HasPrefix(line, "IPv4 "+drift.repaired) }) {
				n.Errorf("%s: repaired %q, want a line %q", drift.name, repaired, drift.repaired)
			}
			if diff := cmp.Diff(want, n.rules()); diff != "" {
				n.Errorf("%s: rules after the repair (-want +got):\n%s", drift.name, diff)
			}
		}
	})
}

func TestB51JumpsOfKubeProxyAreKept(t *testing.T) {
	onNodes(t, func(n *node) {
		n.rulesets = n.rulesets[:1]
		for _, command := range []string{
			"-t nat -N KUBE-TEST-SERVICES", "-t nat -N KUBE-TEST-POST", "-t nat -A KUBE-TEST-SERVICES -j RETURN",
			"-t nat -I PREROUTING -m comment --comment kube-proxy -j KUBE-TEST-SERVICES",
			"-t nat -A OUTPUT -m comment --comment other -j KUBE-TEST-SERVICES", "-t nat -A POSTROUTING -j KUBE-TEST-POST",
		} {
			n.iptables(dataplane.IPv4, strings.Fields(command)...)
		}
		n.ensure()
		jumps := slices.DeleteFunc(n.rules(), func(line string) bool {
			return strings.HasPrefix(line, "IPv4 -A KUBE-") || !strings.HasPrefix(line, "IPv4 -A ") || !strings.Contains(line, "KUBE-TEST-SERVICES")
		})
		want := []string{"IPv4 -A PREROUTING -m comment --comment kube-proxy -j KUBE-TEST-SERVICES", "IPv4 -A OUTPUT -m comment --comment other -j KUBE-TEST-SERVICES"}
		if diff := cmp.Diff(want, jumps); diff != "" {
			n.Errorf("jumps after taking over (-want +got):\n%s", diff)
		}
	})
}

// foreign are rules of others that look as much like ours as they may.
func foreign() []string {
	return []string{
		"-t nat -N KUBE-TEST-SERVICES2", "-t nat -A KUBE-TEST-SERVICES2 -m set --match-set KUBE-TEST-OTHER src -j RETURN",
		"-t nat -A PREROUTING -j KUBE-TEST-SERVICES2", "-t nat -A PREROUTING -s 192.0.2.0/24 -m comment --comment mine -j ACCEPT",
		"-t filter -N KUBE-FIREWALL", "-t filter -A INPUT -j KUBE-FIREWALL", "-t filter -P FORWARD DROP", "-t mangle -N KUBE-KUBELET-CANARY",
		"-t raw -A PREROUTING -p tcp -m tcp --dport 80 -j ACCEPT",
	}
}

func TestForeignRulesStayThroughEnsureAndB52Remove(t *testing.T) {
	onNodes(t, func(n *node) {
		n.command("ipset", "create", "KUBE-TEST-OTHER", "hash:ip")
		for _, command := range foreign() {
			n.iptables(dataplane.IPv4, strings.Fields(command)...)
		}
		n.iptables(dataplane.IPv6, "-t", "nat", "-A", "OUTPUT", "-s", "2001:db8::1", "-j", "ACCEPT")
		before := n.rules()
		n.ensure()
		theirs := slices.DeleteFunc(n.rules(), func(line string) bool {
			return strings.Contains(line, "KUBE-TEST-") && !strings.Contains(line, "KUBE-TEST-SERVICES2")
		})
		for _, line := range before {
			if !slices.Contains(theirs, line) {
				n.Errorf("gone or changed: %s", line)
			}
		}
		removed, err := n.driver.Remove(n.Context(), n.rulesets)
		if err != nil || len(removed) != 2*(6+7) {
			n.Errorf("Remove returned %d lines %q and %v", len(removed), removed, err)
		}
		after := withoutEmptyTables(n.rules())
		if diff := cmp.Diff(withoutEmptyTables(before), after); diff != "" {
			n.Errorf("after Remove (-before +after):\n%s", diff)
		}
		if again, err := n.driver.Remove(n.Context(), n.rulesets); err != nil || len(again) > 0 {
			n.Errorf("second Remove: %q, %v", again, err)
		}
	})
}

// withoutEmptyTables keeps the rules: a table appears when it is first used, and stays.
func withoutEmptyTables(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !strings.Contains(line, " -A ") })
}

func TestLockHeldByAnotherProgram(t *testing.T) {
	onNodes(t, func(n *node) {
		if n.variant == NFT {
			n.ensure() // nf_tables has transactions instead of a lock; nothing to wait for
			return
		}
		lock, err := os.Create(n.driver.options.LockFile)
		if err != nil {
			n.Fatal(err)
		}
		defer func() { _ = lock.Close() }()
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			n.Fatal(err)
		}
		repaired, err := n.driver.Ensure(n.Context(), n.rulesets)
		requireError(n.T, err, dataplane.ErrConflict, "xtables lock")
		if len(repaired) > 0 {
			n.Errorf("reports %q as repaired while the lock was held by another", repaired)
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
			n.Fatal(err)
		}
		n.ensure()
		n.requireSteady()
	})
}
