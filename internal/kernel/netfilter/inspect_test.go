package netfilter

import (
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// inspected returns what is wrong with a rule set of one chain and one jump where iptables-save prints this.
func inspected(t *testing.T, printed string) []dataplane.Fault {
	t.Helper()
	runner := &fakeRunner{TB: t, saves: map[string]string{"iptables-save": printed}}
	d, err := Open(t.Context(), Options{Runner: runner, Variant: Plain, ProcSys: procSys(t, "0"), ProcNet: procNet(t, "")})
	if err != nil {
		t.Fatal(err)
	}
	tables, err := Compile(dataplane.Ruleset{Family: dataplane.IPv4,
		Chains: []dataplane.Chain{{Table: dataplane.NAT, Name: "KUBE-SERVICES", Rules: []dataplane.Rule{{Action: dataplane.Accept{}}}}},
		Jumps:  []dataplane.Jump{{Table: dataplane.NAT, From: "PREROUTING", To: "KUBE-SERVICES"}}})
	if err != nil {
		t.Fatal(err)
	}
	faults, err := d.Inspect(t.Context(), tables)
	if err != nil {
		t.Fatal(err)
	}
	if len(runner.inputs) > 0 {
		t.Errorf("it wrote %q", runner.inputs)
	}
	return faults
}

// What is not as wanted is told, with the input that would put it right; nothing is written.
func TestInspectTellsWhatEnsureWouldDo(t *testing.T) {
	const right = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -j ACCEPT\nCOMMIT\n"
	if faults := inspected(t, right); len(faults) > 0 {
		t.Errorf("of the right rules: %+v", faults)
	}
	for printed, want := range map[string]dataplane.Fault{
		strings.Replace(right, "-A KUBE-SERVICES -j ACCEPT\n", "", 1): {
			What:   `IPv4 table nat: chain KUBE-SERVICES differed: 0 of 1 rules, lacked "-A KUBE-SERVICES -j ACCEPT"`,
			Repair: "iptables-restore --noflush <<'EOF'\n*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -j ACCEPT\nCOMMIT\nEOF",
		},
		strings.Replace(right, "-A PREROUTING -j KUBE-SERVICES\n", "", 1): {
			What:   "IPv4 table nat: jump PREROUTING to KUBE-SERVICES was missing",
			Repair: "iptables-restore --noflush <<'EOF'\n*nat\n-I PREROUTING -j KUBE-SERVICES\nCOMMIT\nEOF",
		},
		"# Table `nat' is incompatible, use 'nft' tool.\n": {
			What: "IPv4 table nat: it holds rules made with nft(8) that iptables cannot show; move those to a table of their own",
		},
	} {
		faults := inspected(t, printed)
		if len(faults) != 1 || faults[0] != want {
			t.Errorf("of %q: %+v, want %+v", printed, faults, want)
		}
	}
}
