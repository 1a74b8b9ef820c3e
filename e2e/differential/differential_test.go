package differential

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/cluster"
)

// How many random cases of which size run unless SEEDS, OBJECTS and CHANGES say otherwise, and how many settings besides
// the usual. make diff-kube-proxy asks for more and larger ones.
const (
	quickSettings = 1
	quickSeeds    = 3
	quickObjects  = 16
	quickChanges  = 10
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// One case with all scenarios in it, since each comparison takes kube-proxy seconds.
func TestScenarios(t *testing.T) {
	cluster.Require(t)
	all := scenarios()
	merged, owner := merge(all)
	r := newRig(t, merged.Settings, merged.Steps[0])
	used := map[string]map[string]bool{} // scenario → rule
	failed := map[string][]string{}
	for i, step := range merged.Steps {
		report := r.take(t, i, step)
		note(used, merged, report, owner)
		for _, d := range report.Differences {
			for _, name := range whose(d, merged, owner) {
				failed[name] = append(failed[name], fmt.Sprintf("step %d: %s", i+1, d))
			}
		}
	}
	for i, s := range all {
		t.Run(s.name, func(t *testing.T) {
			if lines := failed[s.name]; len(lines) > 0 {
				t.Errorf("- kube-proxy, + kube-ipvs-proxy:\n%s\nof\n%s", strings.Join(lines, "\n"), Case{Steps: s.steps(10 * i)})
			}
			for _, rule := range Rules() {
				// Whatever is served has its addresses in the one set.
				if said := rule.Name == servedIPs || slices.Contains(s.uses, rule.Name); said != used[s.name][rule.Name] {
					t.Errorf("the rule %q was used: %t, and the scenario says %t", rule.Name, !said, said)
				}
			}
		})
	}
	if lines := failed[nobody]; len(lines) > 0 {
		t.Errorf("of no scenario's (- kube-proxy, + kube-ipvs-proxy):\n%s", strings.Join(lines, "\n"))
	}
	testSettings(t, r)
}

// testSettings restarts both proxies with other settings, over what the scenarios have left: with all of them only when random
// cases are asked for, too, since a restart takes kube-proxy long.
func testSettings(t *testing.T, r *rig) {
	all := []Settings{{Scheduler: "mh", NodePortAddresses: []string{"192.0.2.0/24", "::/0"}}, {Scheduler: "sh"}, {Scheduler: "lc"}, {Scheduler: "wrr"}}
	if os.Getenv("SEEDS") == "" {
		all = all[:quickSettings]
	}
	for _, settings := range all {
		t.Run("scheduler "+settings.Scheduler, func(t *testing.T) {
			r.restart(t, settings)
			report, err := r.compare(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := report.Err(); err != nil {
				t.Error(err)
			}
			for rule, wanted := range map[string]bool{
				ruleBuckets:  true,
				ruleFallback: settings.Scheduler == "sh" || settings.Scheduler == "mh",
				ruleHealth:   len(settings.NodePortAddresses) > 0,
			} {
				if used := len(report.Allowed[rule]) > 0; used != wanted {
					t.Errorf("the rule %q was used: %t, want %t", rule, used, wanted)
				}
			}
		})
	}
}

// merge makes one case of all scenarios, and says which Service is whose.
func merge(all []scenario) (merged Case, owner map[string]string) {
	owner = map[string]string{}
	for i, s := range all {
		for j, step := range s.steps(10 * i) {
			if j == len(merged.Steps) {
				merged.Steps = append(merged.Steps, nil)
			}
			merged.Steps[j] = append(merged.Steps[j], step...)
			for _, op := range step {
				owner[op.Owner()] = s.name
			}
		}
	}
	return merged, owner
}

// nobody is whose differences are that no Service of a scenario explains.
const nobody = ""

// whose are the scenarios that a difference may be of.
func whose(d Difference, c Case, owner map[string]string) []string {
	names := []string{}
	for _, service := range Owners(d.Item, slices.Concat(c.Steps...)) {
		if !slices.Contains(names, owner[service]) {
			names = append(names, owner[service])
		}
	}
	if len(names) == 0 {
		return []string{nobody}
	}
	return names
}

// note keeps which scenarios used which rules.
func note(used map[string]map[string]bool, c Case, report Report, owner map[string]string) {
	for rule, differences := range report.Allowed {
		for _, d := range differences {
			for _, name := range whose(d, c, owner) {
				if used[name] == nil {
					used[name] = map[string]bool{}
				}
				used[name][rule] = true
			}
		}
	}
}

func TestRandom(t *testing.T) {
	cluster.Require(t)
	first, count := number(t, "SEED", 1), number(t, "SEEDS", quickSeeds)
	size := Size{Objects: number(t, "OBJECTS", quickObjects), Changes: number(t, "CHANGES", quickChanges), Steps: 2}
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprintf("SEED=%d", seed), func(t *testing.T) {
			c, err := Generate(uint64(seed), size)
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			testCase(t, c)
			t.Logf("scheduler %q, nodePortAddresses %q, %d writes: %v", c.Settings.Scheduler, c.Settings.NodePortAddresses, c.Len(),
				time.Since(begun).Round(time.Second))
		})
	}
}

// number reads a variable of the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	value, err := strconv.Atoi(text)
	if err != nil || value < 0 {
		t.Fatalf("%s is %q, want a number", name, text)
	}
	return value
}

// take takes a step of a case, the first of which newRig has written, and compares.
func (r *rig) take(t *testing.T, i int, step []Op) Report {
	t.Helper()
	begun := time.Now()
	if i > 0 {
		if err := r.write(t.Context(), step); err != nil {
			t.Fatalf("step %d: %v", i+1, err)
		}
	}
	report, err := r.compare(t.Context())
	if err != nil {
		t.Fatalf("step %d: %v", i+1, err)
	}
	t.Logf("step %d: compared after %v", i+1, time.Since(begun).Round(time.Millisecond))
	return report
}

// testCase runs a case and compares after each step. What differs is shrunk.
func testCase(t *testing.T, c Case) {
	t.Helper()
	r := newRig(t, c.Settings, c.Steps[0])
	for i, step := range c.Steps {
		report := r.take(t, i, step)
		if err := report.Err(); err != nil {
			t.Errorf("step %d: %v", i+1, err)
			t.Log(r.explain(t, Case{Settings: c.Settings, Steps: c.Steps[:i+1]}, report))
			return
		}
	}
}
