package netfilter

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
)

// emptyTables stands for a kernel whose nf_tables has nothing.
func emptyTables(context.Context, dataplane.Family) (bool, error) { return false, nil }

// What the programs print while the variant is looked for is what the first Ensure goes by; the next reads for itself.
func TestFirstEnsureReadsNothingTwice(t *testing.T) {
	now := time.Unix(0, 0)
	for _, tt := range []struct {
		name  string
		saves map[string]string
		later time.Duration
		runs  []string
	}{
		{"nft in use", map[string]string{"-save": "", "-nft-save": smallSaved, "-legacy-save": ""}, 0, nil},
		{"long after", map[string]string{"-save": "", "-nft-save": smallSaved, "-legacy-save": ""}, recentFor, []string{"iptables-nft-save"}},
		{"only one variant", map[string]string{"-save": smallSaved}, 0, []string{"iptables-save"}},
	} {
		clock := now
		runner := &fakeRunner{TB: t, saves: programs(tt.saves)}
		d, err := Open(t.Context(), Options{Runner: runner, ProcSys: procSys(t, "0"), ProcNet: procNet(t, ""), Now: func() time.Time { return clock }})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		runner.ran, clock = nil, clock.Add(tt.later)
		repaired, err := d.Ensure(t.Context(), small())
		if err != nil || len(repaired) > 0 || !slices.Equal(runner.ran, tt.runs) {
			t.Errorf("%s: repaired %q, %v after %q; want %q", tt.name, repaired, err, runner.ran, tt.runs)
		}
		runner.ran = nil
		if _, err := d.Ensure(t.Context(), small()); err != nil || len(runner.ran) != 1 {
			t.Errorf("%s: the second Ensure ran %q, %v; want a reading of its own", tt.name, runner.ran, err)
		}
	}
}

// Where no variant has anything, there is nothing to read.
func TestEnsureOnAFreshHostOnlyWrites(t *testing.T) {
	runner := &fakeRunner{TB: t, saves: programs(map[string]string{"-save": "", "-nft-save": "", "-legacy-save": ""})}
	d, err := Open(t.Context(), Options{Runner: runner, ProcSys: procSys(t, "0"), ProcNet: procNet(t, ""), Tables: emptyTables})
	if err != nil {
		t.Fatal(err)
	}
	repaired, err := d.Ensure(t.Context(), small())
	if err != nil || len(repaired) != 6 || !slices.Equal(runner.ran, []string{"iptables-restore -w 5 --noflush"}) {
		t.Errorf("repaired %d, %v by %q", len(repaired), err, runner.ran)
	}
	if d.Variant() != Plain {
		t.Errorf("variant %s, want the plain programs", d.Variant())
	}
}

// What cannot be told without the programs is asked of them.
func TestTablesThatAreNotKnownAreRead(t *testing.T) {
	for name, tables := range map[string]func(context.Context, dataplane.Family) (bool, error){
		"some":      func(context.Context, dataplane.Family) (bool, error) { return true, nil },
		"no saying": func(context.Context, dataplane.Family) (bool, error) { return false, errors.New("no") },
	} {
		runner := &fakeRunner{TB: t, saves: programs(map[string]string{"-save": "", "-nft-save": withHint, "-legacy-save": ""})}
		d, err := Open(t.Context(), Options{Runner: runner, ProcSys: procSys(t, "0"), ProcNet: procNet(t, ""), Tables: tables})
		if err != nil || d.Variant() != NFT {
			t.Errorf("%s: Open = %v, %v, want nft", name, d, err)
		}
	}
}

// A host on which a variant lacks a family is looked at before it is said which families are served.
func TestOpenWaitsForTheVariantWhenFamiliesDiffer(t *testing.T) {
	saves := programs(map[string]string{"-nft-save": "", "-legacy-save": withHint})
	delete(saves, "ip6tables-legacy-save")
	runner := &fakeRunner{TB: t, saves: saves}
	d, err := Open(t.Context(), Options{Runner: runner, ProcSys: procSys(t, "0"), ProcNet: procNet(t, "nat\n")})
	if err != nil || !slices.Equal(d.Families(), []dataplane.Family{dataplane.IPv4}) {
		t.Errorf("Open = %+v, %v; want IPv4 alone, by legacy", d, err)
	}
}

func TestHasTablesOfARealKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces: run `make kernel-test`")
	}
	kerneltest.Netns(t)
	n := &node{T: t, variant: NFT}
	for _, want := range []bool{false, true} {
		if want {
			n.iptables(dataplane.IPv4, "-t", "mangle", "-N", hintChain)
		}
		if some, err := HasTables(t.Context(), dataplane.IPv4); err != nil || some != want {
			t.Errorf("HasTables = %v, %v; want %v", some, err, want)
		}
		if some, err := HasTables(t.Context(), dataplane.IPv6); err != nil || some {
			t.Errorf("HasTables of IPv6 = %v, %v; want none", some, err)
		}
	}
}
