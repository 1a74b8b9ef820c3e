package host

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/ipset"
)

func expectCalls(t *testing.T, s *stub, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	s.calls = nil
}

func add(object dataplane.Object) dataplane.Operation {
	return dataplane.Operation{Verb: dataplane.Add, Object: object}
}

var errTest = errors.New("out of luck")

// Neighbours travel together, the order between subsystems stays, and every result belongs to its operation.
func TestApplySplits(t *testing.T) {
	h, s := stubbed()
	addr := netip.MustParseAddr("10.96.0.10")
	web := dataplane.VirtualServer{Key: dataplane.KeyOf(dataplane.UDP, addr, 53), Scheduler: "rr", MaskBits: 32}
	member := dataplane.Member{VirtualServer: web.Key, RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort("10.1.0.1:53")}}
	flows := dataplane.Flows{VirtualServer: web.Key, RealServer: member.Addr}
	entry, address := dataplane.Entry{Set: "SET", Addr: addr}, dataplane.Address{Addr: addr}
	ops := []dataplane.Operation{
		add(entry), add(web), add(member), add(address), add(nil), {Verb: dataplane.Edit, Object: address}, add(flows),
		{Verb: dataplane.Delete, Object: member}, {Verb: dataplane.Delete, Object: flows}, {Verb: dataplane.Delete, Object: entry},
		{Verb: dataplane.Edit, Object: entry}, {Verb: dataplane.Edit, Object: web},
	}
	s.fail[ops[2].String()], s.fail[ops[8].String()] = errTest, errTest
	results := h.Apply(t.Context(), ops)
	if len(results) != len(ops) {
		t.Fatalf("%d results for %d operations", len(results), len(ops))
	}
	want := map[int]error{2: errTest, 4: dataplane.ErrInvalid, 5: dataplane.ErrInvalid, 6: dataplane.ErrInvalid, 8: errTest, 10: dataplane.ErrInvalid}
	for i, err := range results {
		if !errors.Is(err, want[i]) {
			t.Errorf("%s: %v, want %v", ops[i], err, want[i])
		}
	}
	expectCalls(t, s,
		"ipset: ipset add SET 10.96.0.10",
		"ipvs: ipvsadm -A -u 10.96.0.10:53 -s rr | ipvsadm -a -u 10.96.0.10:53 -r 10.1.0.1:53 -m -w 0",
		"link: ip addr add 10.96.0.10/32 dev kube-ipvs0",
		"ipvs: ipvsadm -d -u 10.96.0.10:53 -r 10.1.0.1:53",
		"conntrack: conntrack -D -p udp --orig-dst 10.96.0.10 --reply-src 10.1.0.1",
		"ipset: ipset del SET 10.96.0.10",
		"ipvs: ipvsadm -E -u 10.96.0.10:53 -s rr",
	)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for i, err := range h.Apply(ended, ops[:4]) {
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), ops[i].String()) {
			t.Errorf("after the context ended: %v", err)
		}
	}
	expectCalls(t, s)
}

func foundation(sets ...string) kernel.Foundation {
	var f kernel.Foundation
	for _, name := range sets {
		f.Sets = append(f.Sets, dataplane.Set{Name: name})
	}
	return f
}

func TestFoundationOrder(t *testing.T) {
	h, s := stubbed()
	repaired, err := h.EnsureFoundation(t.Context(), foundation("A", "B"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"device", "rules"}, repaired); diff != "" {
		t.Error(diff)
	}
	expectCalls(t, s, "ensure device", "ensure set A", "ensure set B", "ensure rules",
		"sweep sets "+standInFor("A")+" "+standInFor("B")) // left behind by an earlier process, perhaps
	if _, err := h.EnsureFoundation(t.Context(), foundation("A", "B")); err != nil {
		t.Fatal(err)
	}
	expectCalls(t, s, "ensure device", "ensure set A", "ensure set B", "ensure rules")
	if _, err := h.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectCalls(t, s, "pools", "addresses", "entries of A B")
}

// Neither set nor device keeps anything else from being ensured, and no error hides another.
func TestFoundationFailures(t *testing.T) {
	h, s := stubbed()
	s.fail["ensure set A"], s.fail["ensure device"], s.fail["ensure rules"] = dataplane.ErrPermission, dataplane.ErrUnavailable, errTest
	_, err := h.EnsureFoundation(t.Context(), foundation("A", "B"))
	for _, want := range []error{dataplane.ErrPermission, dataplane.ErrUnavailable, errTest} {
		if !errors.Is(err, want) {
			t.Errorf("error %v lacks %v", err, want)
		}
	}
	expectCalls(t, s, "ensure device", "ensure set A", "ensure set B", "entries of A", "entries of B", "ensure rules")
	clear(s.fail)
	if _, err = h.EnsureFoundation(t.Context(), foundation("A")); err != nil {
		t.Error(err)
	}
	// Only now it is known that no rule uses a stand-in any more.
	expectCalls(t, s, "ensure device", "ensure set A", "ensure rules", "sweep sets "+standInFor("A"))
}

// What is wrong with a set is told in its driver's words, which name the set, also beside a set in the way.
func TestFoundationFailuresAreTold(t *testing.T) {
	h, s := stubbed()
	s.fail["ensure set A"] = errors.Join(&ipset.Error{Action: "create A", Code: int(syscall.ENOMEM)}, &ipset.ConflictError{Set: "B"})
	_, err := h.EnsureFoundation(t.Context(), foundation("A"))
	if !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "create A") {
		t.Errorf("error %v does not tell what was tried", err)
	}
}

// usedBy adds a rule for each set of a foundation, one that spares the first, and one that needs none.
func usedBy(f kernel.Foundation) kernel.Foundation {
	chain := dataplane.Chain{Rules: []dataplane.Rule{{Comment: "none"}, {Comment: "spares", Spares: []string{f.Sets[0].Name}}}}
	for i, set := range f.Sets {
		rule := dataplane.Rule{Comment: "in " + set.Name, Matches: []dataplane.Match{dataplane.MatchSet{Set: set.Name}}}
		if i == 1 {
			rule = dataplane.Rule{Comment: "mark from " + set.Name, Action: dataplane.SetMarkFrom{Set: set.Name}}
		}
		chain.Rules = append(chain.Rules, rule)
	}
	f.Rulesets = []dataplane.Ruleset{{Chains: []dataplane.Chain{chain}}}
	return f
}

// A set that cannot be had costs the rules that need it, and no others; when it comes, so do they. One of which nothing is
// known costs none: it may be there, and its rules at work.
func TestRulesWithoutASet(t *testing.T) {
	all := []string{"none", "spares", "in A", "mark from B", "in C"}
	for _, c := range []struct {
		name string
		fail map[string]error
		want []string
		told string
	}{
		{"no memory", map[string]error{"ensure set A": errTest, "entries of A": dataplane.ErrNotExist}, []string{"none", "mark from B", "in C"},
			`until there is a set A of the right type, the packet filter lacks the rules "spares", "in A"`},
		{"no type", map[string]error{"ensure set B": dataplane.ErrUnavailable, "entries of B": dataplane.ErrNotExist}, []string{"none", "spares", "in A", "in C"},
			`lacks the rules "mark from B"`},
		{"of another type", map[string]error{"ensure set C": conflict("C"), "retarget C to " + standInFor("C"): errTest},
			[]string{"none", "spares", "in A", "mark from B"}, `lacks the rules "in C"`},
		{"cannot grow", map[string]error{"ensure set A": errTest}, all, ""},
		{"cannot be read", map[string]error{"ensure set A": errTest, "entries of A": errTest}, all, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, s := stubbed()
			s.fail = c.fail
			_, err := h.EnsureFoundation(t.Context(), usedBy(foundation("A", "B", "C")))
			if err == nil || !strings.Contains(err.Error(), c.told) || c.told == "" && strings.Contains(err.Error(), "lacks") {
				t.Errorf("error %v, want %q", err, c.told)
			}
			if diff := cmp.Diff(c.want, s.rules); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			s.fail = nil
			if _, err := h.EnsureFoundation(t.Context(), usedBy(foundation("A", "B", "C"))); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(all, s.rules); diff != "" {
				t.Errorf("rules when it is there (-want +got):\n%s", diff)
			}
		})
	}
}

// P22: rules are pointed to a stand-in while a set of another type is replaced.
func TestWrongSetIsReplaced(t *testing.T) {
	h, s := stubbed()
	h.swept = true
	s.fail["ensure set B"] = conflict("B")
	repaired, err := h.EnsureFoundation(t.Context(), foundation("A", "B"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"device", "replaced set B, which was hash:ip, by hash:net", "rules"}, repaired); diff != "" {
		t.Error(diff)
	}
	standIn := standInFor("B")
	expectCalls(t, s, "ensure device", "ensure set A", "ensure set B", "ensure set "+standIn, "retarget B to "+standIn,
		"replace set B", "ensure rules", "sweep sets "+standInFor("A")+" "+standIn)
	if len(standIn) > 31 || standIn == ipset.TemporaryName("B") {
		t.Errorf("stand-in %q", standIn)
	}
}

// P22: when somebody else's rule uses the set, nothing is destroyed, and the error names both.
func TestWrongSetInForeignUse(t *testing.T) {
	h, s := stubbed()
	standIn := standInFor("B")
	s.fail["ensure set A"], s.fail["ensure set B"], s.fail["retarget B to "+standIn] = errTest, conflict("B"), dataplane.ErrConflict
	_, err := h.EnsureFoundation(t.Context(), foundation("A", "B"))
	found, _ := errors.AsType[*ipset.ConflictError](err)
	if found == nil || found.Set != "B" || !errors.Is(err, errTest) {
		t.Errorf("error %v", err)
	}
	expectCalls(t, s, "ensure device", "ensure set A", "ensure set B", "ensure set "+standIn, "retarget B to "+standIn,
		"entries of A", "ensure rules", "sweep sets "+standInFor("A")+" "+standIn)
	if _, err := h.Snapshot(t.Context()); err != nil {
		t.Error(err)
	}
	expectCalls(t, s, "pools", "addresses", "entries of A") // B is there, but not ours
}

// A set that could not be made holds nothing; one that cannot be read, for whatever other reason, is no empty one.
func TestSnapshotWithoutASet(t *testing.T) {
	h, s := stubbed()
	h.swept = true
	s.fail["ensure set A"] = errTest
	s.fail["entries of A"], s.fail["entries of B"] = dataplane.ErrNotExist, errTest
	if _, err := h.EnsureFoundation(t.Context(), foundation("A", "B", "C")); !errors.Is(err, errTest) {
		t.Error(err)
	}
	expectCalls(t, s, "ensure device", "ensure set A", "ensure set B", "ensure set C", "entries of A", "entries of B", "entries of C", "ensure rules")
	if _, err := h.Snapshot(t.Context()); err != nil {
		t.Error(err)
	}
	expectCalls(t, s, "pools", "addresses", "entries of B C")
}

// Without the device, the rest is served; but only when it is known that it cannot be had.
func TestSnapshotWithoutDevice(t *testing.T) {
	for _, inTheWay := range []error{dataplane.ErrConflict, dataplane.ErrUnavailable} {
		h, s := stubbed()
		s.fail["addresses"] = dataplane.ErrNotExist
		if _, err := h.Snapshot(t.Context()); !errors.Is(err, dataplane.ErrNotExist) {
			t.Errorf("before the foundation: %v", err)
		}
		s.fail["ensure device"] = inTheWay
		if _, err := h.EnsureFoundation(t.Context(), foundation("A")); !errors.Is(err, inTheWay) {
			t.Error(err)
		}
		if snapshot, err := h.Snapshot(t.Context()); err != nil || len(snapshot.Objects.Addresses) > 0 {
			t.Errorf("%v: %v, %v", inTheWay, snapshot, err)
		}
		s.fail["addresses"] = errTest
		if _, err := h.Snapshot(t.Context()); !errors.Is(err, errTest) {
			t.Errorf("an address read that failed: %v", err)
		}
		s.fail["addresses"] = dataplane.ErrNotExist
		delete(s.fail, "ensure device")
		if _, err := h.EnsureFoundation(t.Context(), foundation("A")); err != nil {
			t.Error(err)
		}
		if _, err := h.Snapshot(t.Context()); !errors.Is(err, dataplane.ErrNotExist) {
			t.Errorf("with a device that was there a moment ago: %v", err)
		}
	}
}

// A failed read is no snapshot.
func TestSnapshotFails(t *testing.T) {
	for _, call := range []string{"pools", "addresses", "entries of "} {
		h, s := stubbed()
		s.fail[call] = errTest
		if snapshot, err := h.Snapshot(t.Context()); snapshot != nil || !errors.Is(err, errTest) {
			t.Errorf("%s fails: %v, %v", call, snapshot, err)
		}
	}
}

// P23: what stands in the way of removing one thing does not keep the rest.
func TestRemoveFoundation(t *testing.T) {
	h, s := stubbed()
	s.fail["destroy set A"] = errTest
	removed, err := h.RemoveFoundation(t.Context(), foundation("A", "B"))
	if !errors.Is(err, errTest) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"no rules", "set B removed", "no device"}, removed); diff != "" {
		t.Error(diff)
	}
	expectCalls(t, s, "remove rules", "entries of A", "destroy set A", "destroy set "+standInFor("A"), "entries of B", "destroy set B",
		"destroy set "+standInFor("B"), "remove device")
}

func TestClose(t *testing.T) {
	h, s := stubbed()
	s.fail["close link"] = errTest
	if err := h.Close(); !errors.Is(err, errTest) {
		t.Errorf("error %v", err)
	}
	expectCalls(t, s, "close ipvs", "close link", "close ipset", "close conntrack")
	if err := (&Host{}).Close(); err != nil {
		t.Errorf("closing what was never open: %v", err)
	}
}
