package host_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/host"
	"kube-ipvs-proxy/internal/kernel/ipvs"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/kernel/netfilter"
)

// open opens the real kernel in a fresh network namespace.
func open(t *testing.T) *host.Host {
	t.Helper()
	kerneltest.NeedLab(t)
	kerneltest.Netns(t)
	h, err := host.Open(t.Context(), host.Options{
		Netfilter: netfilter.Options{LockFile: filepath.Join(t.TempDir(), "xtables.lock")},
		Warn:      func(message string) { t.Log(message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func opened(t *testing.T) *host.Host {
	t.Helper()
	h := open(t)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// The real kernel behaves as the in-memory one of package kerneltest.
func TestHostConforms(t *testing.T) {
	kerneltest.NeedLab(t)
	kerneltest.Conformance(t, func(t *testing.T) (kernel.Kernel, kerneltest.World) {
		return open(t), operator{}
	})
}

// operator changes the kernel with an operator's tools, in the namespace of the calling thread.
type operator struct{}

func command(line string) error {
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return nil
}

// ByHand types the command that the operation prints.
func (operator) ByHand(op dataplane.Operation) error { return command(op.String()) }

func (operator) DropDevice() error { return command("ip link del " + dataplane.Device) }

func (operator) AddNodeAddress(addr dataplane.NodeAddress) error {
	found, err := netlink.LinkByName(addr.Interface)
	if _, absent := errors.AsType[netlink.LinkNotFoundError](err); absent {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: addr.Interface}, PeerName: addr.Interface + "peer"}
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		found, err = netlink.LinkByName(addr.Interface)
	}
	if err != nil {
		return err
	}
	return netlink.AddrAdd(found, &netlink.Addr{IPNet: nodeNet(addr.Addr), Flags: unix.IFA_F_NODAD})
}

func (operator) DropNodeAddress(addr dataplane.NodeAddress) error {
	found, err := netlink.LinkByName(addr.Interface)
	if err != nil {
		return err
	}
	return netlink.AddrDel(found, &netlink.Addr{IPNet: nodeNet(addr.Addr)})
}

func nodeNet(addr netip.Addr) *net.IPNet {
	bits := addr.BitLen() - 8
	return &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, addr.BitLen())}
}

func TestDeviceOfAnotherKind(t *testing.T) {
	h := opened(t)
	if err := command("ip link add " + dataplane.Device + " type bridge"); err != nil {
		t.Fatal(err)
	}
	_, err := h.EnsureFoundation(t.Context(), kernel.Foundation{})
	if !errors.Is(err, dataplane.ErrConflict) || !strings.Contains(err.Error(), "bridge") {
		t.Errorf("foundation: %v", err)
	}
	if err := command("ip link show " + dataplane.Device); err != nil {
		t.Errorf("the foreign device is gone: %v", err)
	}
}

// P22: a set of another type that a rule of somebody else uses stays, with its rule, and the error names the rule. Rules that
// do not need the set are there nevertheless.
func TestWrongSetInForeignUse(t *testing.T) {
	h := opened(t)
	for _, line := range []string{
		"ipset create KUBE-CLUSTER-IP hash:ip",
		"iptables -t nat -A PREROUTING -m set --match-set KUBE-CLUSTER-IP dst -j ACCEPT",
	} {
		if err := command(line); err != nil {
			t.Fatal(err)
		}
	}
	set := dataplane.Set{Name: "KUBE-CLUSTER-IP", Type: dataplane.HashIPPort, Family: dataplane.IPv4,
		HashSize: dataplane.DefaultHashSize, MaxElem: dataplane.DefaultMaxElem}
	other := set
	other.Name = "KUBE-EXTERNAL-IP"
	in := func(set dataplane.Set) dataplane.Rule {
		return dataplane.Rule{Comment: set.Name, Matches: []dataplane.Match{dataplane.MatchSet{Set: set.Name, Fields: "dst,dst"}}, Action: dataplane.Accept{}}
	}
	rules := dataplane.Ruleset{
		Family: dataplane.IPv4,
		Chains: []dataplane.Chain{{Table: dataplane.NAT, Name: "KUBE-SERVICES", Rules: []dataplane.Rule{in(set), in(other)}}},
		Jumps:  []dataplane.Jump{{Table: dataplane.NAT, From: "PREROUTING", To: "KUBE-SERVICES"}},
	}
	wanted := kernel.Foundation{Sets: []dataplane.Set{set, other}, Rulesets: []dataplane.Ruleset{rules}}
	_, err := h.EnsureFoundation(t.Context(), wanted)
	if !errors.Is(err, dataplane.ErrConflict) || !strings.Contains(err.Error(), "--match-set KUBE-CLUSTER-IP dst") {
		t.Errorf("foundation: %v", err)
	}
	const both = "-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -m comment --comment KUBE-CLUSTER-IP -j ACCEPT\n" + one
	expectRules(t, one)
	if repaired, _ := h.EnsureFoundation(t.Context(), wanted); len(repaired) > 0 {
		t.Errorf("the same once more repairs %q", repaired)
	}
	// Once the operator has removed that rule, the next check heals the rest.
	if err := command("iptables -t nat -F PREROUTING"); err != nil {
		t.Fatal(err)
	}
	if repaired, err := h.EnsureFoundation(t.Context(), wanted); err != nil {
		t.Errorf("after the rule was removed: %q, %v", repaired, err)
	}
	expectRules(t, both)
	out, err := exec.Command("sh", "-c", "ipset list -n | sort").Output()
	if err != nil || string(out) != "KUBE-CLUSTER-IP\nKUBE-EXTERNAL-IP\n" {
		t.Errorf("sets %q, %v: want the two alone, without stand-ins", out, err)
	}
	if removed, err := h.RemoveFoundation(t.Context(), wanted); err != nil {
		t.Errorf("removed %q, %v", removed, err)
	}
	left, err := exec.Command("sh", "-c", "ipset list -n; iptables-save | grep KUBE; ip -o link show type dummy").Output()
	if strings.TrimSpace(string(left)) != "" {
		t.Errorf("left after removal: %s (%v)", left, err)
	}
}

// one is the rule for the set that nothing is in the way of.
const one = "-A KUBE-SERVICES -m set --match-set KUBE-EXTERNAL-IP dst,dst -m comment --comment KUBE-EXTERNAL-IP -j ACCEPT\n"

// expectRules checks that the chain holds exactly these rules, and is jumped to.
func expectRules(t *testing.T, want string) {
	t.Helper()
	out, err := exec.Command("sh", "-c", "iptables-save -t nat | grep -- '-[Aj] KUBE-SERVICES'").Output()
	if want = "-A PREROUTING -j KUBE-SERVICES\n" + want; err != nil || string(out) != want {
		t.Errorf("rules\n%s(%v), want\n%s", out, err, want)
	}
}

func TestSchedulerAndTimeouts(t *testing.T) {
	h := opened(t)
	if err := h.CheckScheduler(t.Context(), "rr"); err != nil {
		t.Error(err)
	}
	if err := h.CheckScheduler(t.Context(), "nosuch"); !errors.Is(err, dataplane.ErrNoScheduler) {
		t.Errorf("no such scheduler: %v", err)
	}
	if err := h.SetTimeouts(t.Context(), ipvs.Timeouts{TCP: 900e9, TCPFin: 120e9, UDP: 300e9}); err != nil {
		t.Error(err)
	}
	out, err := exec.Command("ipvsadm", "-l", "--timeout").Output()
	if want := "Timeout (tcp tcpfin udp): 900 120 300\n"; err != nil || string(out) != want {
		t.Errorf("timeouts %q, %v", out, err)
	}
	before := h.Executions()
	errs := h.Apply(t.Context(), []dataplane.Operation{{Verb: dataplane.Add, Object: dataplane.VirtualServer{
		Key: dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.0.10"), 80), Scheduler: "rr", MaskBits: 32}}})
	if errs[0] != nil || h.Executions() != before {
		t.Errorf("an operation: %v, %d processes", errs[0], h.Executions()-before)
	}
}
