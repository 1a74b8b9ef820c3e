package ipset_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipset"
)

// refer makes a rule refer to a set, as netfilter does; unrefer takes it away.
func refer(t testing.TB, set string) {
	t.Helper()
	mustRun(t, "iptables -w -A INPUT -m set --match-set "+set+" dst,dst")
}

func unrefer(t testing.TB, set string) {
	t.Helper()
	mustRun(t, "iptables -w -D INPUT -m set --match-set "+set+" dst,dst")
}

// P22: a set of the same type with other parameters is replaced with its entries while a rule refers to it.
func TestP22WrongParametersAreRepairedInPlace(t *testing.T) {
	want := hashSet("S", dataplane.HashIPPort, dataplane.IPv4)
	marked := want
	marked.Marks = true
	ports := portSet("S")
	for _, c := range []struct {
		name, found, fault string
		want               dataplane.Set
	}{
		{"small", "hash:ip,port maxelem 100", "maxelem is 100", want},
		{"timeout", "hash:ip,port timeout 600", "timeout", want},
		{"counters", "hash:ip,port counters", "counters", want},
		{"comment", "hash:ip,port comment", "comment", want},
		{"forceadd", "hash:ip,port forceadd", "forceadd", want},
		{"no marks", "hash:ip,port", "lacks skbinfo", marked},
		{"marks", "hash:ip,port skbinfo", "has skbinfo", want},
		{"range", "bitmap:port range 30000-32767", "range 30000-32767", ports},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, warnings := open(t)
			mustRun(t, "ipset create S "+c.found)
			refer(t, "S")
			entries := numbered("S", 3)
			if c.want.Type == dataplane.BitmapPort {
				entries = []dataplane.Entry{{Set: "S", Port: 30000}, {Set: "S", Port: 32767}}
			}
			restore(t, entries)
			repaired := ensure(t, d, c.want)
			if len(repaired) != 1 || !strings.Contains(repaired[0], c.fault) {
				t.Errorf("repaired %q, want one that says %q", repaired, c.fault)
			}
			if diff := cmp.Diff(printed(c.want, entries), saved(t, "S")); diff != "" {
				t.Errorf("ipset save (-want +got):\n%s", diff)
			}
			mustRun(t, createExist(c.want))
			if again := ensure(t, d, c.want); again != nil {
				t.Errorf("repaired again: %q", again)
			}
			if names := mustRun(t, "ipset list -n"); names != "S\n" || len(*warnings) > 0 {
				t.Errorf("left behind: %q, warnings %q", names, *warnings)
			}
			if err := d.Destroy(context.Background(), "S"); !errors.Is(err, unix.EBUSY) {
				t.Errorf("the rule lost its set: destroying it returned %v", err)
			}
		})
	}
}

func TestHarmlessDifferencesStay(t *testing.T) {
	d, _ := open(t)
	mustRun(t, "ipset create S hash:ip,port hashsize 4096 maxelem 131072")
	if repaired := ensure(t, d, hashSet("S", dataplane.HashIPPort, dataplane.IPv4)); repaired != nil {
		t.Errorf("repaired %q", repaired)
	}
}

// P22: another type is reported, whatever else there is to do is done, and Replace works once no rule refers to the set.
func TestP22AnotherTypeIsAConflict(t *testing.T) {
	want := hashSet("S", dataplane.HashIPPort, dataplane.IPv6)
	for _, c := range []struct{ name, found, described string }{
		{"type", "hash:ip family inet6", "hash:ip family inet6"},
		{"family", "hash:ip,port", "hash:ip,port family inet"},
		{"bitmap", "bitmap:port range 0-65535", "bitmap:port"},
		{"foreign", "hash:net", "hash:net family inet"},
		{"list", "list:set", "list:set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			d, _ := open(t)
			mustRun(t, "ipset create S "+c.found)
			mustRun(t, "ipset create R list:set")
			other := portSet("OTHER")
			repaired, err := d.Ensure(ctx, []dataplane.Set{want, other, {Name: "BAD"}})
			var conflict *ipset.ConflictError
			if !errors.As(err, &conflict) || !errors.Is(err, dataplane.ErrConflict) {
				t.Fatalf("got %v", err)
			}
			if *conflict != (ipset.ConflictError{Set: "S", Found: c.described, Wanted: "hash:ip,port family inet6"}) {
				t.Errorf("conflict %+v", *conflict)
			}
			if !errors.Is(err, dataplane.ErrInvalid) {
				t.Errorf("the third set's error is missing: %v", err)
			}
			if len(repaired) != 1 || saved(t, "OTHER")[0] != other.String()+"\n" {
				t.Errorf("the other set was not created: %q", repaired)
			}
			replaceWhileReferenced(t, d, want, c.name != "list")
		})
	}
}

func replaceWhileReferenced(t *testing.T, d *ipset.Driver, want dataplane.Set, member bool) {
	t.Helper()
	if member { // a list:set cannot be a member of another
		mustRun(t, "ipset add R S")
		err := d.Replace(context.Background(), want)
		if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "in use by a rule") {
			t.Errorf("replacing a set in use: %v", err)
		}
		mustRun(t, "ipset del R S")
	}
	if err := d.Replace(context.Background(), want); err != nil {
		t.Fatal(err)
	}
	apply(t, d, dataplane.Add, someEntries(want)...)
	if diff := cmp.Diff(printed(want, someEntries(want)), saved(t, "S")); diff != "" {
		t.Errorf("ipset save (-want +got):\n%s", diff)
	}
}

func TestALeftOverTemporarySetIsSweptAway(t *testing.T) {
	d, _ := open(t)
	set := hashSet("S", dataplane.HashIPPort, dataplane.IPv4)
	ensure(t, d, set)
	left := ipset.TemporaryName("S")
	mustRun(t, "ipset create "+left+" hash:ip")
	if repaired := ensure(t, d, set); len(repaired) != 1 || !strings.Contains(repaired[0], left) {
		t.Errorf("repaired %q", repaired)
	}
	if names := mustRun(t, "ipset list -n"); names != "S\n" {
		t.Errorf("sets: %q", names)
	}
	mustRun(t, "ipset create "+left+" hash:ip,port")
	refer(t, left)
	if _, err := d.Ensure(context.Background(), []dataplane.Set{set}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a temporary set in use: %v", err)
	}
}

func TestTemporaryNamesFitAndDiffer(t *testing.T) {
	names := map[string]bool{}
	for _, set := range []string{"KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP", "KUBE-6-LOAD-BALANCER-SOURCE-CID"} {
		name := ipset.TemporaryName(set)
		if len(name) > 31 || names[name] {
			t.Errorf("%s: %q", set, name)
		}
		names[name] = true
	}
}

func TestSetsAreListedWithForeignOnes(t *testing.T) {
	d, _ := open(t)
	sets := everySet()
	ensure(t, d, sets...)
	mustRun(t, "ipset create A-FOREIGN hash:net")
	got, err := d.Sets(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(sets), dataplane.Set{Name: "A-FOREIGN", Family: dataplane.IPv4, HashSize: 1024, MaxElem: 65536})
	slices.SortFunc(want, func(a, b dataplane.Set) int { return strings.Compare(a.Name, b.Name) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sets (-want +got):\n%s", diff)
	}
}

func TestSwapAndDestroy(t *testing.T) {
	ctx := context.Background()
	d, _ := open(t)
	a, b := hashSet("A", dataplane.HashIPPort, dataplane.IPv4), hashSet("B", dataplane.HashIPPort, dataplane.IPv4)
	ensure(t, d, a, b, portSet("P"))
	apply(t, d, dataplane.Add, numbered("A", 5)...)
	refer(t, "B")
	if err := d.Swap(ctx, "A", "B"); err != nil {
		t.Fatal(err)
	}
	if got := entriesOf(t, d, "B"); len(got) != 5 || len(entriesOf(t, d, "A")) != 0 {
		t.Errorf("after the swap B has %d entries", len(got))
	}
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"swap types", d.Swap(ctx, "B", "P"), dataplane.ErrConflict},
		{"swap with nothing", d.Swap(ctx, "B", "C"), dataplane.ErrNotExist},
		{"swap nothing", d.Swap(ctx, "C", "B"), dataplane.ErrNotExist},
		{"bad name", d.Swap(ctx, "A", ""), dataplane.ErrInvalid},
		{"destroy a referenced set", d.Destroy(ctx, "B"), unix.EBUSY},
		{"destroy without a name", d.Destroy(ctx, ""), dataplane.ErrInvalid},
		{"destroy nothing", d.Destroy(ctx, "C"), nil},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
	}
	unrefer(t, "B")
	if err := d.Destroy(ctx, "B"); err != nil {
		t.Error(err)
	}
}

// What is there of the sets goes, what cannot go is told, and all others stay.
func TestSweep(t *testing.T) {
	ctx := context.Background()
	d, _ := open(t)
	ensure(t, d, portSet("A"), portSet("B"), portSet("C"))
	refer(t, "A")
	if err := d.Sweep(ctx, []string{"none", "A", "B"}); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "set A") {
		t.Errorf("error %v, want that A is in use", err)
	}
	if _, err := d.Entries(ctx, []string{"A", "C"}); err != nil {
		t.Error(err)
	}
	if _, err := d.Entries(ctx, []string{"B"}); !errors.Is(err, dataplane.ErrNotExist) {
		t.Errorf("B is still there: %v", err)
	}
}
