package netfilter

import (
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// FuzzEnsure has the driver read whatever iptables-save may print. It never panics; what it cannot read it leaves alone,
// and what it writes are whole tables.
func FuzzEnsure(f *testing.F) {
	f.Add(smallSaved)
	f.Add(strings.ReplaceAll(smallSaved, "KUBE-A", "KUBE-X"))
	f.Add("# Table `filter' is incompatible, use 'nft' tool.\n*filter\nCOMMIT\n")
	f.Add("*filter\n# Table `filter' is incompatible, use 'nft' tool.\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n")
	f.Add("*filter\n:INPUT\n-A INPUT\n-A \n-A INPUT -m comment --comment \"a\n-A INPUT -m conntrack --ctstate \nCOMMIT")
	f.Fuzz(func(t *testing.T, text string) {
		runner := &fakeRunner{TB: t, saves: map[string]string{"iptables-save": text}, failures: map[string]error{}}
		d, err := Open(t.Context(), Options{Runner: runner, ProcSys: procSys(t, "0")})
		if err != nil {
			t.Fatal(err)
		}
		repaired, err := d.Ensure(t.Context(), small())
		if have, unread := parse(text); (unread != nil || have[dataplane.Filter].foreign) && (err == nil || len(runner.inputs) > 0) {
			t.Errorf("%v, but the driver wrote %q and returned %v", unread, runner.inputs, err)
		}
		if len(repaired) > 0 && len(runner.inputs) == 0 {
			t.Errorf("repaired %q without writing anything", repaired)
		}
		for _, input := range runner.inputs {
			if !strings.HasPrefix(input, "*filter\n") || !strings.HasSuffix(input, "\nCOMMIT\n") {
				t.Errorf("wrote %q", input)
			}
		}
	})
}
