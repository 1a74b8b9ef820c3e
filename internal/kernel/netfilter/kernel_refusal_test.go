package netfilter

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// requireError wants an error of a kind whose text has the words.
func requireError(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error %v, want one that is %q", err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestRefusedRuleIsNamed(t *testing.T) {
	onNodes(t, func(n *node) {
		n.rulesets = []dataplane.Ruleset{{Family: dataplane.IPv4, Chains: []dataplane.Chain{
			{Table: dataplane.Filter, Name: "KUBE-TEST-BAD", Rules: []dataplane.Rule{{Action: dataplane.Return{}}, {Action: dataplane.SNATToNode{}}}},
			{Table: dataplane.NAT, Name: "KUBE-TEST-GOOD", Rules: []dataplane.Rule{{Action: dataplane.Return{}}}},
		}}}
		repaired, err := n.driver.Ensure(n.Context(), n.rulesets)
		refused := map[string]string{NFT: "-A KUBE-TEST-BAD -j MASQUERADE", Legacy: "COMMIT"}[n.variant]
		requireError(n.T, err, dataplane.ErrInvalid, "IPv4 table filter", "refused line", refused)
		if !slices.Equal(repaired, []string{"IPv4 table nat: chain KUBE-TEST-GOOD was missing"}) {
			n.Errorf("repaired %q, want the table that is not concerned", repaired)
		}
		if slices.ContainsFunc(n.rules(), func(line string) bool { return strings.Contains(line, "KUBE-TEST-BAD") }) {
			n.Errorf("half of a refused table was committed: %q", n.rules())
		}
	})
}

func TestMissingSetIsNamed(t *testing.T) {
	onNodes(t, func(n *node) {
		n.rulesets = []dataplane.Ruleset{{Family: dataplane.IPv4, Chains: []dataplane.Chain{
			{Table: dataplane.NAT, Name: "KUBE-TEST", Rules: []dataplane.Rule{
				{Matches: []dataplane.Match{dataplane.MatchSet{Set: "KUBE-ABSENT", Fields: "dst,dst"}}, Action: dataplane.Drop{}}}},
		}}}
		_, err := n.driver.Ensure(n.Context(), n.rulesets)
		requireError(n.T, err, dataplane.ErrNotExist, "Set KUBE-ABSENT", `refused line: "-A KUBE-TEST -m set --match-set KUBE-ABSENT dst,dst -j DROP"`)
	})
}

func TestTableWithNativeRulesIsNotTakenForEmpty(t *testing.T) {
	onNodes(t, func(n *node) {
		if n.variant == Legacy {
			return // legacy tables have no other user
		}
		n.ensure()
		n.command("nft", "add rule ip nat PREROUTING log prefix native")
		_, err := n.driver.Ensure(n.Context(), n.rulesets)
		requireError(n.T, err, dataplane.ErrConflict, "IPv4 table nat", "nft(8)")
	})
}

func TestP22RulesMoveToAnotherSet(t *testing.T) {
	onNodes(t, func(n *node) {
		n.ensure()
		before := n.rules()
		_, pairs := setNames(dataplane.IPv4)
		n.command("ipset", "create", "KUBE-TMP", "hash:ip")
		changed, err := n.driver.Retarget(n.Context(), n.rulesets, pairs, "KUBE-TMP")
		if err != nil {
			n.Fatal(err)
		}
		want := []string{"IPv4 table nat: chain KUBE-TEST-SERVICES refers to KUBE-TMP now", "IPv4 table filter: chain KUBE-TEST-FILTER refers to KUBE-TMP now",
			"IPv4 table mangle: chain KUBE-TEST-AUDIENCE refers to KUBE-TMP now"}
		if !slices.Equal(changed, want) {
			n.Errorf("changed %q, want %q", changed, want)
		}
		if got := len(n.rules()); got != len(before) {
			n.Errorf("%d lines after, %d before: a rule got lost", got, len(before))
		}
		n.command("ipset", "destroy", pairs) // refused as long as a rule refers to it
		n.command("ipset", "create", pairs, "hash:ip,port", "skbinfo")
		n.ensure()
		n.command("ipset", "destroy", "KUBE-TMP")
		if !slices.Equal(n.rules(), before) {
			n.Errorf("rules after moving there and back:\n%q\nwant\n%q", n.rules(), before)
		}
	})
}

func TestP22ForeignUserOfTheSetIsNamed(t *testing.T) {
	onNodes(t, func(n *node) {
		n.ensure()
		_, pairs := setNames(dataplane.IPv4)
		n.command("ipset", "create", "KUBE-TMP", "hash:ip")
		n.iptables(dataplane.IPv4, "-t", "nat", "-A", "PREROUTING", "-m", "set", "--match-set", pairs, "dst,dst", "-j", "ACCEPT")
		_, err := n.driver.Retarget(n.Context(), n.rulesets, pairs, "KUBE-TMP")
		requireError(n.T, err, dataplane.ErrConflict, "-A PREROUTING -m set --match-set "+pairs, "delete that rule")
	})
}

func TestRemoveKeepsAChainThatOthersUse(t *testing.T) {
	onNodes(t, func(n *node) {
		n.rulesets = n.rulesets[:1]
		n.ensure()
		n.iptables(dataplane.IPv4, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "KUBE-TEST-MARK")
		_, err := n.driver.Remove(n.Context(), n.rulesets)
		requireError(n.T, err, dataplane.ErrConflict, "-A OUTPUT -p tcp -j KUBE-TEST-MARK")
		ours := slices.DeleteFunc(n.rules(), func(line string) bool { return !strings.Contains(line, "KUBE-TEST-") })
		if !slices.Equal(ours, []string{"IPv4 -A OUTPUT -p tcp -j KUBE-TEST-MARK"}) {
			n.Errorf("left: %q, want only the foreign rule", ours)
		}
	})
}
