package ipset_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipset"
)

func TestAMarkIsChangedInPlace(t *testing.T) {
	for _, verb := range []dataplane.Verb{dataplane.Add, dataplane.Edit} {
		for _, set := range everySet() {
			if !set.Marks {
				continue
			}
			d, _ := open(t)
			ensure(t, d, set)
			entry := someEntries(set)[0]
			for _, entry.Mark = range []uint32{5, 0x3fff, 0, 1} {
				apply(t, d, verb, entry)
				if diff := cmp.Diff(printed(set, []dataplane.Entry{entry}), saved(t, set.Name)); diff != "" {
					t.Errorf("%s: ipset save (-want +got):\n%s", set.Type, diff)
				}
			}
		}
	}
}

// What no entry of ours has is visible as a difference, and adding the wanted entry removes it.
func TestForeignEntriesAreTurnedIntoOurs(t *testing.T) {
	d, _ := open(t)
	set := hashSet("S", dataplane.HashIPPortNet, dataplane.IPv4)
	set.Marks = true
	ensure(t, d, set)
	const entry = "10.0.0.1,tcp:80,10.0.0.0/8"
	for _, foreign := range []string{"nomatch", "skbmark 0x1/0xff", "skbmark 0x0", "skbprio 1:2", "skbqueue 3"} {
		mustRun(t, "ipset add S "+entry+" "+foreign+" -exist")
		got := entriesOf(t, d, "S")
		if len(got) != 1 || got[0].Mark != ipset.ForeignMark {
			t.Errorf("%s: entries %v", foreign, got)
		}
		ours := got[0].Key()
		apply(t, d, dataplane.Add, ours)
		if diff := cmp.Diff(printed(set, []dataplane.Entry{ours}), saved(t, "S")); diff != "" {
			t.Errorf("%s: ipset save (-want +got):\n%s", foreign, diff)
		}
	}
}

func TestBadOperationsAmongTenThousand(t *testing.T) {
	d, warnings := open(t)
	hosts := hashSet("HOSTS", dataplane.HashIP, dataplane.IPv4)
	ensure(t, d, hashSet("S", dataplane.HashIPPort, dataplane.IPv4), hosts)
	batch := operations(dataplane.Add, numbered("S", 10_000)...)
	want := map[int]error{}
	put := func(i int, verb dataplane.Verb, object dataplane.Object, err error) {
		batch[i] = dataplane.Operation{Verb: verb, Object: object}
		want[i] = err
	}
	good := numbered("S", 1)[0]
	wrongFamily, noProtocol, marked, gone := good, good, good, good
	wrongFamily.Addr = netip.MustParseAddr("fd00::1")
	noProtocol.Protocol = 0
	marked.Mark = 1
	gone.Set = "GONE"
	put(0, dataplane.Add, wrongFamily, dataplane.ErrInvalid)
	put(127, dataplane.Add, gone, dataplane.ErrNotExist)
	put(128, dataplane.Add, marked, dataplane.ErrInvalid) // the kernel's refusal: the set has no skbinfo
	put(4999, dataplane.Add, dataplane.Entry{Set: "HOSTS", Addr: netip.IPv4Unspecified()}, dataplane.ErrInvalid)
	put(5000, dataplane.Add, noProtocol, dataplane.ErrInvalid)
	put(5001, dataplane.Delete, gone, nil)
	put(5002, dataplane.Delete, wrongFamily, dataplane.ErrInvalid)
	put(5003, dataplane.Verb(9), good, dataplane.ErrInvalid)
	put(5004, dataplane.Add, dataplane.Address{Addr: netip.IPv6Loopback()}, dataplane.ErrInvalid)
	put(5005, dataplane.Add, dataplane.Entry{Set: strings.Repeat("x", 32), Port: 1}, dataplane.ErrInvalid)
	put(9999, dataplane.Edit, gone, dataplane.ErrNotExist)
	results := d.Apply(context.Background(), batch)
	for i, err := range results {
		if !errors.Is(err, want[i]) || (err != nil && !strings.Contains(err.Error(), strings.TrimPrefix(batch[i].String(), "ipset "))) {
			t.Errorf("operation %d %s: %v, want %v", i, batch[i], err, want[i])
		}
	}
	if got := len(entriesOf(t, d, "S")); got != 10_000-len(want) || len(*warnings) > 0 {
		t.Errorf("%d entries, warnings %q", got, *warnings)
	}
}

func TestASetThatWasReplacedIsLookedAtAgain(t *testing.T) {
	d, _ := open(t)
	ensure(t, d, hashSet("S", dataplane.HashIPPort, dataplane.IPv4))
	entry := numbered("S", 1)[0]
	mustRun(t, "ipset destroy S")
	if err := d.Apply(context.Background(), operations(dataplane.Delete, entry))[0]; err != nil {
		t.Errorf("delete from a set that vanished: %v", err)
	}
	if err := d.Apply(context.Background(), operations(dataplane.Add, entry))[0]; !errors.Is(err, dataplane.ErrNotExist) {
		t.Errorf("add to a set that vanished: %v", err)
	}
	mustRun(t, "ipset create S hash:ip")
	if err := d.Apply(context.Background(), operations(dataplane.Add, entry))[0]; !errors.Is(err, dataplane.ErrInvalid) {
		t.Errorf("add to a set that became a hash:ip: %v", err)
	}
	mustRun(t, "ipset create F hash:net")
	entry.Set = "F"
	if err := d.Apply(context.Background(), operations(dataplane.Add, entry))[0]; !errors.Is(err, dataplane.ErrConflict) {
		t.Errorf("add to a set of a foreign type: %v", err)
	}
	mustRun(t, "ipset create P bitmap:port range 1-2")
	port := dataplane.Entry{Set: "P", Port: 3}
	if err := d.Apply(context.Background(), operations(dataplane.Add, port))[0]; !errors.Is(err, dataplane.ErrInvalid) {
		t.Errorf("a port out of range: %v", err)
	}
}

func TestEntriesOfALongSetAndOfNone(t *testing.T) {
	d, _ := open(t)
	ensure(t, d, hashSet("S", dataplane.HashIPPort, dataplane.IPv4), hashSet("EMPTY", dataplane.HashIP, dataplane.IPv6))
	want := numbered("S", 60_000)
	apply(t, d, dataplane.Add, want...)
	slices.SortFunc(want, dataplane.Entry.Compare)
	if got := entriesOf(t, d, "EMPTY", "S"); !slices.Equal(got, want) {
		t.Errorf("read %d entries, not the %d that were written", len(got), len(want))
	}
	mustRun(t, "ipset create F hash:net")
	for name, want := range map[string]error{"GONE": dataplane.ErrNotExist, "F": dataplane.ErrConflict, "": dataplane.ErrInvalid} {
		got, err := d.Entries(context.Background(), []string{"S", name})
		if !errors.Is(err, want) || got != nil {
			t.Errorf("set %q: %d entries, %v", name, len(got), err)
		}
	}
	if got := entriesOf(t, d, "S"); len(got) != len(want) {
		t.Errorf("after the errors: %d entries", len(got))
	}
}
