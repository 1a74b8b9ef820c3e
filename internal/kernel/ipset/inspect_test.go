package ipset_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipset"
)

// Missing sets, those of other parameters and those of another type are told, each as what it is; nothing is changed.
func TestInspectTellsWhatIsWrong(t *testing.T) {
	d, warnings := open(t)
	right, missing := hashSet("RIGHT", dataplane.HashIPPort, dataplane.IPv4), hashSet("MISSING", dataplane.HashIPPort, dataplane.IPv6)
	small, other := hashSet("SMALL", dataplane.HashIPPort, dataplane.IPv4), hashSet("OTHER", dataplane.HashIPPort, dataplane.IPv4)
	ensure(t, d, right)
	mustRun(t, "ipset create SMALL hash:ip,port maxelem 100")
	mustRun(t, "ipset create OTHER hash:ip")
	before := mustRun(t, "ipset save")
	got, err := d.Inspect(t.Context(), []dataplane.Set{right, missing, small, other})
	if err != nil {
		t.Fatal(err)
	}
	conflict := &ipset.ConflictError{Set: "OTHER", Found: "hash:ip family inet", Wanted: "hash:ip,port family inet"}
	want := ipset.Inspection{
		Faults: []dataplane.Fault{
			{What: "set MISSING missing", Repair: "ipset create MISSING hash:ip,port family inet6 hashsize 1024 maxelem 65536"},
			{What: "set SMALL: its maxelem is 100; it takes another set, swapped for this one, to change that"},
			{What: conflict.Error()},
		},
		Readable: []string{"RIGHT", "SMALL"},
		InTheWay: []string{"OTHER"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inspection (-want +got):\n%s", diff)
	}
	mustRun(t, got.Faults[0].Repair)
	if diff := cmp.Diff(before, mustRun(t, "ipset save RIGHT")+mustRun(t, "ipset save SMALL")+mustRun(t, "ipset save OTHER")); diff != "" {
		t.Errorf("it changed (-before +after):\n%s", diff)
	}
	if again, err := d.Inspect(t.Context(), []dataplane.Set{missing}); err != nil || len(again.Faults) > 0 || len(*warnings) > 0 {
		t.Errorf("after the repair: %v, %v, warnings %q", again, err, *warnings)
	}
}
