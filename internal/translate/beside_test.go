package translate

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// B51, B52: what kube-proxy's mode ipvs knows nothing of are sets and chains of our own names, and table mangle.
func TestB51Beside(t *testing.T) {
	families := dataplane.Families()
	sets, rulesets := Beside(Sets(families), []dataplane.Ruleset{Rules(dataplane.IPv4, service.Options{}), Rules(dataplane.IPv6, service.Options{})})
	var names []string
	for _, set := range sets {
		names = append(names, set.Name)
	}
	slices.Sort(names)
	want := strings.Fields("KUBE-6-INTERNAL-MARK KUBE-6-NO-ENDPOINTS KUBE-6-NO-LOCAL KUBE-6-NODE-PORT-IPS KUBE-6-SERVED-IPS " +
		"KUBE-INTERNAL-MARK KUBE-NO-ENDPOINTS KUBE-NO-LOCAL KUBE-NODE-PORT-IPS KUBE-SERVED-IPS")
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	for i, rules := range rulesets {
		if rules.Family != families[i] || len(rules.Chains) != 3 || len(rules.Jumps) != 3 {
			t.Errorf("%s: %d chains, %d jumps", rules.Family, len(rules.Chains), len(rules.Jumps))
		}
	}
}
