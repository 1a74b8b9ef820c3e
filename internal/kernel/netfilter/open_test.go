package netfilter

import (
	"errors"
	"slices"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

const (
	withHint   = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n"
	withCanary = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n"
	withChains = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-POSTROUTING - [0:0]\nCOMMIT\n"
	withRules  = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\n-A INPUT -j DROP\nCOMMIT\n"
	withRule   = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n"
)

// programs returns a host's save programs for both families; absent names are not installed.
func programs(saves map[string]string) map[string]string {
	all := map[string]string{}
	for name, text := range saves {
		all["iptables"+name] = text
		all["ip6tables"+name] = ""
	}
	return all
}

func TestOpenFindsTheVariantOfTheHost(t *testing.T) {
	for _, tt := range []struct {
		name  string
		saves map[string]string
		want  string
		runs  uint64
	}{
		{"hint in nft", map[string]string{"-save": "", "-nft-save": withHint, "-legacy-save": withRules}, NFT, 4},
		{"hint in legacy", map[string]string{"-save": "", "-nft-save": withRules, "-legacy-save": withHint}, Legacy, 4},
		{"hint beats a canary left over", map[string]string{"-nft-save": withCanary, "-legacy-save": withHint}, Legacy, 4},
		{"canary in nft", map[string]string{"-save": "", "-nft-save": withCanary, "-legacy-save": withChains}, NFT, 4},
		{"canary in legacy", map[string]string{"-save": "", "-nft-save": withChains, "-legacy-save": withCanary}, Legacy, 4},
		{"Kubernetes chains beat rules", map[string]string{"-save": "", "-nft-save": withRules, "-legacy-save": withChains}, Legacy, 4},
		{"more rules", map[string]string{"-save": "", "-nft-save": withRule, "-legacy-save": withRules}, Legacy, 4},
		{"nothing anywhere", map[string]string{"-save": "", "-nft-save": "", "-legacy-save": ""}, Plain, 4},
		{"nothing and no plain programs", map[string]string{"-nft-save": "", "-legacy-save": ""}, NFT, 4},
		{"only plain programs", map[string]string{"-save": withHint}, Plain, 0},
	} {
		runner := &fakeRunner{TB: t, saves: programs(tt.saves)}
		d, err := Open(t.Context(), Options{Runner: runner, ProcSys: procSys(t, "0"), ProcNet: procNet(t, "nat\nfilter\n")})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if d.Variant() != tt.want || d.Executions() != tt.runs || !slices.Equal(d.Families(), dataplane.Families()) {
			t.Errorf("%s: variant %s, %d executions, families %v; want %s, %d, both", tt.name, d.Variant(), d.Executions(), d.Families(), tt.want, tt.runs)
		}
	}
}

func TestOpenPassesOverAVariantThatTheKernelLacks(t *testing.T) {
	runner := &fakeRunner{TB: t, saves: programs(map[string]string{"-nft-save": "", "-legacy-save": withRule}),
		failures: map[string]error{"iptables-nft-save": &ExitError{Code: 1, Stderr: "no nf_tables"}, "ip6tables-nft-save": errors.New("no")}}
	d, err := Open(t.Context(), Options{Runner: runner, ProcSys: procSys(t, "0"), ProcNet: procNet(t, "filter\n")})
	if err != nil || d.Variant() != Legacy {
		t.Errorf("Open = %v, %v; want legacy", d, err)
	}
}

func TestOpenStartsNoProgramForLegacyTablesThatAreNotThere(t *testing.T) {
	for name, procNet := range map[string]string{"no module": t.TempDir(), "no table": procNet(t, "")} {
		runner := &fakeRunner{TB: t, saves: programs(map[string]string{"-save": "", "-nft-save": withChains, "-legacy-save": withHint})}
		d, err := Open(t.Context(), Options{Runner: runner, ProcSys: procSys(t, "0"), ProcNet: procNet})
		if err != nil || d.Variant() != NFT || !slices.Equal(runner.ran, []string{"iptables-nft-save", "ip6tables-nft-save"}) {
			t.Errorf("%s: Open = %v, %v after %q; want nft without a look at legacy", name, d, err, runner.ran)
		}
	}
}

func TestOpenWithoutIptables(t *testing.T) {
	_, err := Open(t.Context(), Options{Runner: &fakeRunner{TB: t}, ProcSys: procSys(t, "0")})
	requireError(t, err, dataplane.ErrUnavailable, "install the package iptables")
}

func TestFamilyThatCannotBeServedIsSaid(t *testing.T) {
	only4 := map[string]string{"iptables-save": ""}
	both := programs(map[string]string{"-save": ""})
	for _, tt := range []struct {
		name, procSys, says string
		saves               map[string]string
	}{
		{"no ip6tables", procSys(t, "0"), "no ip6tables-save", only4},
		{"IPv6 switched off", procSys(t, "1"), "disable_ipv6=1", both},
		{"IPv6 not in the kernel", t.TempDir(), "ipv6.disable=1", both},
	} {
		d, err := Open(t.Context(), Options{Runner: &fakeRunner{TB: t, saves: tt.saves}, ProcSys: tt.procSys})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if !slices.Equal(d.Families(), []dataplane.Family{dataplane.IPv4}) || d.Available(dataplane.IPv4) != nil {
			t.Errorf("%s: families %v, want IPv4 alone", tt.name, d.Families())
		}
		requireError(t, d.Available(dataplane.IPv6), dataplane.ErrUnavailable, tt.says)
		repaired, err := d.Ensure(t.Context(), []dataplane.Ruleset{everyRule(dataplane.IPv6), everyRule(dataplane.IPv4)})
		requireError(t, err, dataplane.ErrUnavailable, tt.says)
		if len(repaired) != 6+7 {
			t.Errorf("%s: repaired %d, want IPv4 served nevertheless", tt.name, len(repaired))
		}
	}
}

func TestOpenSeesTheKubeletsHintOnARealHost(t *testing.T) {
	onNodes(t, func(n *node) {
		n.iptables(dataplane.IPv4, "-t", "mangle", "-N", hintChain)
		n.iptables(dataplane.IPv4, "-t", "mangle", "-N", canaryChain)
		d, err := Open(n.Context(), Options{LockFile: n.driver.options.LockFile})
		if err != nil || d.Variant() != n.variant {
			n.Fatalf("Open = %+v, %v; want %s", d, err, n.variant)
		}
		if available := d.Available(dataplane.IPv6); available != nil {
			n.Error(available)
		}
	})
}
