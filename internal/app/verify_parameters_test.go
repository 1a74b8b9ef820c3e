package app

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/kernel/sysctl"
)

// Each kernel parameter that a daemon would set is compared, and the command that sets it is said.
func TestDifferentParameters(t *testing.T) {
	cfg := config.Config{Conntrack: config.Conntrack{MaxPerCore: 1, Min: 1000}}
	cfg.IPVS.StrictARP = true
	wanted := parametersOf(cfg)
	system := sysctl.System{ProcSys: t.TempDir(), Sys: t.TempDir()}
	set := func(name string, value int, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(system.ProcSys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strconv.Itoa(value)+"\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when string, want ...string) {
		t.Helper()
		var got []string
		for _, d := range compareParameters(system, wanted) {
			got = append(got, d.String())
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %q, want %q", when, got, want)
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%s: %q, want %q", when, got[i], want[i])
			}
		}
	}
	for _, p := range wanted {
		set(p.Name, p.Value, 0o644)
	}
	expect("as wanted")
	const most = "net/netfilter/nf_conntrack_max"
	set(most, 2000000, 0o644)
	expect("larger than it has to be")
	set(most, 7, 0o644)
	set("net/ipv4/conf/all/arp_announce", 3, 0o644)
	set("net/ipv4/vs/conntrack", 0, 0o644)
	expect("different", "sysctl -w net.ipv4.vs.conntrack=1  # kernel parameter is 0",
		"sysctl -w net.ipv4.conf.all.arp_announce=2  # kernel parameter is 3", "sysctl -w net.netfilter.nf_conntrack_max=1000  # kernel parameter is 7")
	set(most, 7, 0o444)
	set("net/ipv4/vs/conntrack", 1, 0o644)
	set("net/ipv4/conf/all/arp_announce", 2, 0o644)
	expect("the host's, in a network namespace")
	if err := os.RemoveAll(filepath.Join(system.ProcSys, "net/ipv4/vs")); err != nil {
		t.Fatal(err)
	}
	const missing = "# kernel parameter: read net/ipv4/vs/"
	expect("without IPVS", missing+"conntrack: ", missing+"expire_nodest_conn: ", missing+"expire_quiescent_template: ")
}
