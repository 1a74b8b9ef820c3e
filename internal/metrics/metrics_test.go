package metrics_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/metrics"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// values returns the value of each counter and gauge, and the count of each histogram, by name and label values.
func values(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := []string{family.GetName()}
			for _, label := range metric.GetLabel() {
				name = append(name, label.GetValue())
			}
			out[strings.Join(name, " ")] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() +
				float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return out
}

// P04: every failed operation and step is counted, and what waits to be tried again is a number to alert on.
func TestP04FailuresAreCounted(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	registry := prometheus.NewRegistry()
	m := metrics.New(registry, clocktesting.NewFakePassiveClock(now), dataplane.Families())
	server := dataplane.Operation{Verb: dataplane.Add, Object: dataplane.VirtualServer{}}
	entry := dataplane.Operation{Verb: dataplane.Delete, Object: dataplane.Entry{}}
	m.Queued(now)
	m.RoundDone(reconcile.Round{Services: 3, Operations: []dataplane.Operation{server, server, entry}, Waiting: 1,
		Failures: []reconcile.Failure{{Operation: server, Err: dataplane.ErrInvalid}}, Triggered: []reconcile.Trigger{{At: now.Add(-time.Second)}}})
	m.StepDone(reconcile.StepSnapshot, errors.New("interrupted"))
	m.StepDone(reconcile.StepSnapshot, nil)
	m.Audited(reconcile.Audit{At: now, Drifted: 2, Repaired: []string{"a set"}})
	got := values(t, registry)
	for name, want := range map[string]float64{
		"kube_ipvs_proxy_operations_total virtual_server add":           2,
		"kube_ipvs_proxy_operations_total set_entry delete":             1,
		"kube_ipvs_proxy_operation_failures_total virtual_server add":   1,
		"kube_ipvs_proxy_step_failures_total snapshot":                  1,
		"kube_ipvs_proxy_waiting_objects":                               1,
		"kube_ipvs_proxy_translated_services_total":                     3,
		"kube_ipvs_proxy_drifted_objects_total":                         2,
		"kube_ipvs_proxy_foundation_repairs_total":                      1,
		"kube_ipvs_proxy_last_audit_timestamp_seconds":                  float64(now.Unix()),
		"kubeproxy_sync_proxy_rules_duration_seconds IPv4":              1,
		"kubeproxy_network_programming_duration_seconds IPv6":           1,
		"kubeproxy_sync_proxy_rules_last_timestamp_seconds IPv4":        float64(now.Unix()),
		"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds IPv6": float64(now.Unix()),
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

// The number of known problems follows those of each object, and what is solved is forgotten.
func TestProblemsAreCountedOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := metrics.New(registry, clocktesting.NewFakePassiveClock(time.Time{}), dataplane.Families())
	for _, step := range []struct {
		object   string
		problems int
		want     float64
	}{{"a", 2, 2}, {"b", 1, 3}, {"a", 1, 2}, {"a", 1, 2}, {"b", 0, 1}, {"b", 0, 1}, {"a", 0, 0}} {
		m.Problems(step.object, make([]service.Problem, step.problems))
		if got := values(t, registry)["kube_ipvs_proxy_object_problems"]; got != step.want {
			t.Fatalf("with %d problems of %s there are %v in all, want %v", step.problems, step.object, got, step.want)
		}
	}
}

// Services are counted, not their problems: one whose problems are filed in two places is one.
func TestServicesWithProblems(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := metrics.New(registry, clocktesting.NewFakePassiveClock(time.Time{}), dataplane.Families())
	a, b := service.Problem{Object: "Service x/a"}, service.Problem{Object: "Service x/b"}
	lost := service.Problem{Object: "Service x/a", Rival: "Service x/b"}
	for i, step := range []struct {
		object            string
		problems          []service.Problem
		wrong, conflicted float64
	}{
		{"a", []service.Problem{a, a}, 1, 0},
		{"conflicts of a", []service.Problem{lost, lost}, 1, 1},
		{"b", []service.Problem{b}, 2, 1},
		{"a", nil, 2, 1},
		{"conflicts of a", []service.Problem{lost}, 2, 1},
		{"conflicts of a", nil, 1, 0},
		{"node", []service.Problem{{Object: "Node n"}}, 1, 0},
		{"b", nil, 0, 0},
	} {
		m.Problems(step.object, step.problems)
		got := values(t, registry)
		if w, c := got["kube_ipvs_proxy_services_with_problems"], got["kube_ipvs_proxy_services_in_conflict"]; w != step.wrong || c != step.conflicted {
			t.Errorf("after step %d, %v Services have problems and %v are in conflict, want %v and %v", i, w, c, step.wrong, step.conflicted)
		}
	}
}

func TestEventOutcomes(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.EventOutcomes(func() map[string]float64 { return map[string]float64{"created": 3, "refused": 0} }))
	got := values(t, registry)
	if n, there := got["kube_ipvs_proxy_events_total refused"]; got["kube_ipvs_proxy_events_total created"] != 3 || n != 0 || !there {
		t.Errorf("the metric is %v", got)
	}
}
