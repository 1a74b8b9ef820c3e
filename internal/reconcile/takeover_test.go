package reconcile_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/translate"
)

// diary is a kernel that notes in which order sets, rules and operations come.
type diary struct {
	kernel.Kernel
	lines []string
	fail  error // of the next EnsureFoundation with Succeed
}

func (d *diary) EnsureFoundation(ctx context.Context, f kernel.Foundation) ([]string, error) {
	if f.Takeover == kernel.Succeed && d.fail != nil {
		err := d.fail
		d.fail = nil
		return nil, err
	}
	repaired, err := d.Kernel.EnsureFoundation(ctx, f)
	rules := 0
	for _, line := range repaired {
		if strings.Contains(line, "rules") {
			rules++
		}
	}
	d.lines = append(d.lines, fmt.Sprintf("foundation, takeover %d: %d rule sets", f.Takeover, rules))
	return repaired, err
}

func (d *diary) Apply(ctx context.Context, operations []dataplane.Operation) []error {
	if len(operations) > 0 {
		d.lines = append(d.lines, "operations")
	}
	return d.Kernel.Apply(ctx, operations)
}

// ofAnother puts rules of another proxy into the kernel, under the names of ours.
func ofAnother(t *testing.T, fake *kerneltest.Fake) {
	t.Helper()
	sets := translate.Sets(dataplane.Families())
	for _, family := range dataplane.Families() {
		rules := dataplane.Ruleset{Family: family, Chains: []dataplane.Chain{{Table: dataplane.NAT, Name: "KUBE-SERVICES",
			Rules: []dataplane.Rule{{Action: dataplane.Accept{}}}}}}
		if _, err := fake.EnsureFoundation(t.Context(), kernel.Foundation{Sets: sets, Rulesets: []dataplane.Ruleset{rules}}); err != nil {
			t.Fatal(err)
		}
	}
}

// B51: at a start with another proxy's rules in place, these decide about connections until the sets have their entries. On a
// node without, our rules come first, and nothing is looked at twice.
func TestB51RulesOfAnotherAreReplacedWhenSetsAreFilled(t *testing.T) {
	for name, c := range map[string]struct {
		others bool
		fail   error
		want   []string
	}{
		"fresh": {want: []string{"foundation, takeover 1: 2 rule sets", "operations"}},
		"another proxy": {others: true,
			want: []string{"foundation, takeover 1: 0 rule sets", "operations", "foundation, takeover 2: 2 rule sets"}},
		"another proxy, after a failure": {others: true, fail: dataplane.ErrUnavailable,
			want: []string{"foundation, takeover 1: 0 rule sets", "operations", "foundation, takeover 2: 2 rule sets"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake(t)
				if c.others {
					ofAnother(t, fake)
				}
				d := &diary{Kernel: fake, fail: c.fail}
				o := options()
				o.Audits.Period = time.Hour
				f := startWith(t, fake, d, o)
				f.settle(time.Minute)
				f.source.SetService(web("web", "10.96.0.1", 0))
				f.source.SetSlice(slice("web", "10.1.0.1"))
				f.complete()
				f.settle(time.Minute)
				// Rounds before the sources are complete have what belongs to the node to write.
				if diff := cmp.Diff(c.want, squeeze(d.lines)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		})
	}
}

// squeeze leaves out repetitions.
func squeeze(lines []string) (out []string) {
	for _, line := range lines {
		if len(out) == 0 || out[len(out)-1] != line {
			out = append(out, line)
		}
	}
	return out
}
