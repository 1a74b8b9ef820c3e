package metrics_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/metrics"
	"kube-ipvs-proxy/internal/reconcile"
)

// kubeProxy lists the metrics that kube-proxy 1.37.2 registers in ipvs mode (pkg/proxy/metrics/metrics.go): name, type,
// labels and, of histograms, the number of buckets, the first bound and the last.
const kubeProxy = `
kubeproxy_conntrack_reconciler_deleted_entries_total COUNTER ip_family
kubeproxy_conntrack_reconciler_sync_duration_seconds HISTOGRAM ip_family 15 0.001 16.384
kubeproxy_network_programming_duration_seconds HISTOGRAM ip_family 80 0.25 300
kubeproxy_proxy_healthz_total COUNTER code
kubeproxy_proxy_livez_total COUNTER code
kubeproxy_sync_proxy_rules_duration_seconds HISTOGRAM ip_family 15 0.001 16.384
kubeproxy_sync_proxy_rules_endpoint_changes_pending GAUGE
kubeproxy_sync_proxy_rules_endpoint_changes_total COUNTER
kubeproxy_sync_proxy_rules_iptables_restore_failures_total COUNTER ip_family
kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds GAUGE ip_family
kubeproxy_sync_proxy_rules_last_timestamp_seconds GAUGE ip_family
kubeproxy_sync_proxy_rules_no_local_endpoints_total GAUGE ip_family traffic_policy
kubeproxy_sync_proxy_rules_service_changes_pending GAUGE
kubeproxy_sync_proxy_rules_service_changes_total COUNTER
`

// everything is a registry in which each metric has a value.
func everything(t *testing.T) *prometheus.Registry {
	t.Helper()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	registry := prometheus.NewPedanticRegistry()
	m := metrics.New(registry, clocktesting.NewFakePassiveClock(now), dataplane.Families())
	operation := dataplane.Operation{Verb: dataplane.Add, Object: dataplane.VirtualServer{}}
	m.Queued(now)
	m.RoundDone(reconcile.Round{Operations: []dataplane.Operation{operation}, Failures: []reconcile.Failure{{Operation: operation, Err: dataplane.ErrInvalid}},
		Triggered: []reconcile.Trigger{{At: now}}})
	m.StepDone(reconcile.StepSnapshot, dataplane.ErrInvalid)
	m.HealthAnswered("/healthz", 200)
	m.HealthAnswered("/livez", 503)
	k := metrics.NewKernel(registry)
	k.RestoreFailed(dataplane.IPv4)
	k.FlowsDeleted(dataplane.IPv6, time.Second, 2)
	metrics.NewReload(registry, now)
	requested(t, registry, now)
	registry.MustRegister(metrics.Changes(func() reconcile.Changes { return reconcile.Changes{} }),
		metrics.SourceAges(func() map[string]time.Duration { return map[string]time.Duration{"kube/services": time.Second} }),
		metrics.EventOutcomes(func() map[string]float64 { return map[string]float64{"created": 1} }))
	used := newTable()
	used.wants("web", "http", "10.96.0.1:80")
	used.counts("10.96.0.1:80", 1, serves("10.0.0.1:8080", 1, 1, 1))
	registry.MustRegister(metrics.Traffic(used.source(), many))
	return registry
}

// Dashboards and alerts made for kube-proxy find all of its metrics, as they know them.
func TestMetricsAreThoseOfKubeProxy(t *testing.T) {
	families, err := everything(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "kubeproxy_") {
			continue
		}
		line, metric := []string{family.GetName(), family.GetType().String()}, family.GetMetric()[0]
		for _, label := range metric.GetLabel() {
			line = append(line, label.GetName())
			if families := []string{"IPv4", "IPv6"}; label.GetName() == "ip_family" && !slices.Contains(families, label.GetValue()) {
				t.Errorf("%s has the family %q", family.GetName(), label.GetValue())
			}
		}
		if buckets := metric.GetHistogram().GetBucket(); len(buckets) > 0 {
			line = append(line, fmt.Sprint(len(buckets)), fmt.Sprint(buckets[0].GetUpperBound()), fmt.Sprint(buckets[len(buckets)-1].GetUpperBound()))
		}
		got = append(got, strings.Join(line, " "))
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(kubeProxy), "\n"), got); diff != "" {
		t.Errorf("(-kube-proxy +here)\n%s", diff)
	}
}

// What `promtool check metrics` finds wrong (this is its library) is one name that is kube-proxy's.
func TestPromtoolFindsNothing(t *testing.T) {
	families, err := everything(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	// A gauge of Services at present; the suffix is for counters, but a name cannot be changed under dashboards.
	const theirs = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
	found := false
	for _, p := range problems {
		if p.Metric == theirs && strings.Contains(p.Text, `"_total"`) {
			found = true
			continue
		}
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if !found {
		t.Errorf("%s is no exception any more", theirs)
	}
}

// An endpoint change counts in its own family; one of a slice without endpoints, of which that is not known, in each.
func TestProgrammingTimeIsThatOfTheFamily(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	registry := prometheus.NewRegistry()
	m := metrics.New(registry, clocktesting.NewFakePassiveClock(now), dataplane.Families())
	m.RoundDone(reconcile.Round{Triggered: []reconcile.Trigger{{Family: dataplane.IPv4, At: now}, {Family: dataplane.IPv4, At: now},
		{Family: dataplane.IPv6, At: now}, {At: now}}})
	got := values(t, registry)
	for family, want := range map[string]float64{"IPv4": 3, "IPv6": 2} {
		if count := got["kubeproxy_network_programming_duration_seconds "+family]; count != want {
			t.Errorf("%s: %v changes, want %v", family, count, want)
		}
	}
}

// What there is at the end of a round is shown as it is, and zero when it is over.
func TestWhatThereIsAtPresent(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := metrics.New(registry, clocktesting.NewFakePassiveClock(time.Time{}), dataplane.Families())
	lack := reconcile.NoLocal{Family: dataplane.IPv4, External: true}
	for _, present := range []reconcile.Present{
		{NoLocal: map[reconcile.NoLocal]int{lack: 3}, Draining: 2, Retried: 5},
		{},
	} {
		m.RoundDone(reconcile.Round{Present: present})
		got := values(t, registry)
		for name, want := range map[string]float64{
			"kubeproxy_sync_proxy_rules_no_local_endpoints_total IPv4 external": float64(present.NoLocal[lack]),
			"kubeproxy_sync_proxy_rules_no_local_endpoints_total IPv4 internal": 0,
			"kubeproxy_sync_proxy_rules_no_local_endpoints_total IPv6 external": 0,
			"kube_ipvs_proxy_draining_real_servers":                             float64(present.Draining),
			"kube_ipvs_proxy_retried_objects_total":                             5,
		} {
			if value, there := got[name]; !there || value != want {
				t.Errorf("%s is %v (there: %v), want %v", name, value, there, want)
			}
		}
	}
}

// Answers of the health address, changes and drivers' reports reach the metrics that are named after them.
func TestCountsReachTheirMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := metrics.New(registry, clocktesting.NewFakePassiveClock(time.Time{}), dataplane.Families())
	for _, path := range []string{"/healthz", "/healthz", "/livez", "/elsewhere"} {
		m.HealthAnswered(path, 200)
	}
	m.HealthAnswered("/healthz", 503)
	k := metrics.NewKernel(registry)
	k.FlowsDeleted(dataplane.IPv4, time.Second, 3)
	k.FlowsDeleted(dataplane.IPv4, time.Second, 0)
	k.RestoreFailed(dataplane.IPv6)
	registry.MustRegister(metrics.Changes(func() reconcile.Changes {
		return reconcile.Changes{Services: reconcile.ChangeCount{Total: 7, Pending: 2}, Endpoints: reconcile.ChangeCount{Total: 9, Pending: 4}}
	}))
	got := values(t, registry)
	for name, want := range map[string]float64{
		"proxy_healthz_total 200": 2, "proxy_healthz_total 503": 1, "proxy_livez_total 200": 1,
		"conntrack_reconciler_deleted_entries_total IPv4": 3, "conntrack_reconciler_sync_duration_seconds IPv4": 2,
		"sync_proxy_rules_iptables_restore_failures_total IPv6": 1,
		"sync_proxy_rules_service_changes_total":                7, "sync_proxy_rules_service_changes_pending": 2,
		"sync_proxy_rules_endpoint_changes_total": 9, "sync_proxy_rules_endpoint_changes_pending": 4,
	} {
		if got["kubeproxy_"+name] != want {
			t.Errorf("%s is %v, want %v", name, got["kubeproxy_"+name], want)
		}
	}
}
