package admin

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"kube-ipvs-proxy/internal/dataplane"
)

// The example in each tool's notation.
func TestRender(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/render.txtar")
	if err != nil {
		t.Fatal(err)
	}
	view := exampleView(t)
	desired, err := view.Desired()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"ipvs": desired.IPVS(nil), "ipset": desired.IPSet(), "addresses": desired.IPAddr(),
		"iptables": view.IPTables(dataplane.IPv4), "ip6tables": view.IPTables(dataplane.IPv6)}
	want := map[string]string{}
	for _, file := range archive.Files {
		want[file.Name] = string(file.Data)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rendered (-want +got):\n%s", diff)
	}
}
