package ipset_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
)

// createExist is the command with which kube-proxy makes a set, and which fails when there is another one.
func createExist(set dataplane.Set) string { return "ipset " + set.String() + " -exist" }

func TestKubeProxysOwnCreateAcceptsTheSets(t *testing.T) {
	for _, set := range everySet() {
		t.Run(set.Name, func(t *testing.T) {
			d, _ := open(t)
			if repaired := ensure(t, d, set); len(repaired) != 1 {
				t.Errorf("creation reported as %q", repaired)
			}
			if diff := cmp.Diff(printed(set, nil), saved(t, set.Name)); diff != "" {
				t.Errorf("ipset save (-want +got):\n%s", diff)
			}
			mustRun(t, createExist(set))
			if repaired := ensure(t, d, set); repaired != nil {
				t.Errorf("a set that is right was repaired: %q", repaired)
			}
			if set.Type != dataplane.BitmapPort {
				other := set
				other.MaxElem++
				if out, err := command(t, "ipset", strings.Fields(createExist(other))[1:]...); err == nil {
					t.Errorf("ipset accepts another maxelem, so that this test proves nothing: %s", out)
				}
			}
		})
	}
}

func TestSetsOfTheToolAreTakenOver(t *testing.T) {
	for _, set := range everySet() {
		t.Run(set.Name, func(t *testing.T) {
			d, _ := open(t)
			mustRun(t, createExist(set))
			entries := someEntries(set)
			restore(t, entries)
			if repaired := ensure(t, d, set); repaired != nil {
				t.Errorf("a set of the ipset tool was repaired: %q", repaired)
			}
			if diff := cmp.Diff(printed(set, entries), printed(set, entriesOf(t, d, set.Name))); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheToolReadsWhatTheDriverWrote(t *testing.T) {
	for _, set := range everySet() {
		t.Run(set.Name, func(t *testing.T) {
			d, _ := open(t)
			ensure(t, d, set)
			entries := someEntries(set)
			apply(t, d, dataplane.Add, entries...)
			apply(t, d, dataplane.Add, entries...) // nothing changes
			if diff := cmp.Diff(printed(set, entries), saved(t, set.Name)); diff != "" {
				t.Errorf("ipset save (-want +got):\n%s", diff)
			}
			got := entriesOf(t, d, set.Name)
			if diff := cmp.Diff(printed(set, entries), printed(set, got)); diff != "" || len(got) != len(entries) {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			apply(t, d, dataplane.Delete, entries...)
			apply(t, d, dataplane.Delete, entries...) // deleting what is not there is fine
			if diff := cmp.Diff(printed(set, nil), saved(t, set.Name)); diff != "" {
				t.Errorf("after deletion, ipset save (-want +got):\n%s", diff)
			}
		})
	}
}

// restore adds entries with the ipset tool, from their own notation.
func restore(t testing.TB, entries []dataplane.Entry) {
	t.Helper()
	var script strings.Builder
	for _, entry := range entries {
		script.WriteString(entry.String() + "\n")
	}
	restoring := exec.Command("ipset", "restore")
	restoring.Stdin = strings.NewReader(script.String())
	if out, err := restoring.CombinedOutput(); err != nil {
		t.Fatalf("ipset restore: %v: %s", err, out)
	}
}
