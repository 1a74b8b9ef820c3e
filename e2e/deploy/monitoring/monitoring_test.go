package monitoring

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"sigs.k8s.io/yaml"
)

const directory = "../../../manifests/monitoring/"

// names are names of metrics.
type names map[string]bool

// exported are the names of all metrics that the daemon may export, and up, which is Prometheus' own. Those of the project
// are in the reference, which is written from the code.
func exported(t *testing.T) names {
	t.Helper()
	all := names{"up": true}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (?:counter|gauge|histogram) \\|").FindAllStringSubmatch(string(read(t, "../reference.md")), -1) {
		all[row[1]] = true
	}
	runtime := prometheus.NewRegistry()
	runtime.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, err := runtime.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		all[family.GetName()] = true
	}
	return all
}

// has reports whether a name is that of a metric, or of a part of a histogram.
func (n names) has(name string) bool {
	for _, part := range []string{"_bucket", "_sum", "_count"} {
		if n[strings.TrimSuffix(name, part)] {
			return true
		}
	}
	return n[name]
}

// expressions returns the PromQL of the alerts, by alert, and of the dashboard's panels, by title.
func expressions(t *testing.T) (alerts map[string]string, panels map[string][]string) {
	t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(read(t, "alerts.yaml"), &rules); err != nil {
		t.Fatal(err)
	}
	alerts = map[string]string{}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			alerts[rule.Alert] = rule.Expr
		}
	}
	var dashboard struct {
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read(t, "dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	panels = map[string][]string{}
	for _, panel := range dashboard.Panels {
		if panel.Type == "row" {
			continue
		}
		if len(panel.Targets) == 0 {
			t.Errorf("panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			panels[panel.Title] = append(panels[panel.Title], target.Expr)
		}
	}
	return alerts, panels
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(directory, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// selectors finds the names before braces and brackets, and those of the daemon's metrics wherever they stand.
func selectors(expression string) []string {
	var found []string
	expression = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expression, `""`)
	for _, match := range regexp.MustCompile(`([a-zA-Z_][\w:]*)\s*[{\[]|\b((?:kube_ipvs_proxy|kubeproxy|process|go)_\w+)`).FindAllStringSubmatch(expression, -1) {
		found = append(found, match[1]+match[2])
	}
	return found
}

// Rules and dashboard name metrics that exist.
func TestMetricsExist(t *testing.T) {
	t.Parallel()
	all := exported(t)
	alerts, panels := expressions(t)
	if len(alerts) < 10 || len(panels) < 20 {
		t.Fatalf("there are %d alerts and %d panels: they are not where this test looks", len(alerts), len(panels))
	}
	for alert, expression := range alerts {
		panels["alert "+alert] = []string{expression}
	}
	for where, list := range panels {
		for _, expression := range list {
			used := selectors(expression)
			if len(used) == 0 {
				t.Errorf("%s uses no metric: %s", where, expression)
			}
			for _, name := range used {
				if !all.has(name) {
					t.Errorf("%s uses %s, which the daemon does not export", where, name)
				}
			}
		}
	}
}

// promtool runs promtool in the directory of the rules.
func promtool(t *testing.T, arguments ...string) {
	t.Helper()
	program, err := filepath.Abs("../../../.cache/bin/promtool")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath("promtool"); err != nil {
			t.Fatalf("%v; run make promtool", err)
		}
	}
	command := exec.CommandContext(t.Context(), program, arguments...)
	command.Dir = directory
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
}

// promtool finds nothing wrong with the rules, and their own tests pass.
func TestRules(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", "--lint-fatal", "alerts.yaml")
	promtool(t, "test", "rules", "alerts_test.yaml")
}

// Every alert is seen to fire in one test at least, and to be silent in one at least.
func TestEveryAlertIsTested(t *testing.T) {
	t.Parallel()
	var cases struct {
		Tests []struct {
			Checks []struct {
				Alert    string           `json:"alertname"`
				Expected []map[string]any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(read(t, "alerts_test.yaml"), &cases); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range cases.Tests {
		for _, check := range test.Checks {
			if len(check.Expected) > 0 {
				fires[check.Alert] = true
			} else {
				silent[check.Alert] = true
			}
		}
	}
	alerts, _ := expressions(t)
	for alert := range alerts {
		if !fires[alert] || !silent[alert] {
			t.Errorf("%s: tested to fire %t, to be silent %t", alert, fires[alert], silent[alert])
		}
	}
}

// What panels use is found, wherever it stands.
func TestSelectors(t *testing.T) {
	t.Parallel()
	got := strings.Join(selectors(`sum by (a) (rate(foo_total{job="kube-ipvs-proxy"}[5m])) / bar[1m] > go_goroutines or kubeproxy_x`), " ")
	if want := "foo_total bar go_goroutines kubeproxy_x"; got != want {
		t.Errorf("found %q, want %q", got, want)
	}
}
