package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// Metrics follows the reconciler and holds what it counts. It is safe for concurrent use.
type Metrics struct {
	clock    clock.PassiveClock
	families []dataplane.Family
	proxy    proxyMetrics
	own      ownMetrics
	problems *problemMetrics
}

// proxyMetrics are kube-proxy's.
type proxyMetrics struct {
	duration    *prometheus.HistogramVec
	programming *prometheus.HistogramVec
	last        *prometheus.GaugeVec
	queued      *prometheus.GaugeVec
	noLocal     *prometheus.GaugeVec
	healthz     *prometheus.CounterVec
	livez       *prometheus.CounterVec
}

// ownMetrics are this proxy's.
type ownMetrics struct {
	operations *prometheus.CounterVec
	failures   *prometheus.CounterVec
	steps      *prometheus.CounterVec
	waiting    prometheus.Gauge
	retried    prometheus.Counter
	services   prometheus.Counter
	drifted    prometheus.Counter
	repaired   prometheus.Counter
	audit      auditMetrics
	draining   prometheus.Gauge
}

// auditMetrics are about comparing the whole kernel with the whole desired state.
type auditMetrics struct{ last, took prometheus.Gauge }

var _ reconcile.Observer = (*Metrics)(nil)

// New returns metrics and registers them.
func New(registry prometheus.Registerer, c clock.PassiveClock, families []dataplane.Family) *Metrics {
	m := &Metrics{clock: c, families: families, proxy: newProxyMetrics(), own: newOwnMetrics(), problems: newProblemMetrics()}
	registry.MustRegister(m.proxy.duration, m.proxy.programming, m.proxy.last, m.proxy.queued,
		m.proxy.noLocal, m.proxy.healthz, m.proxy.livez,
		m.own.operations, m.own.failures, m.own.steps, m.own.waiting, m.own.retried, m.own.services, m.own.drifted, m.own.repaired,
		m.own.audit.last, m.own.audit.took, m.own.draining,
		m.problems.problems, m.problems.services, m.problems.conflicts)
	return m
}

func newProxyMetrics() proxyMetrics {
	family := []string{"ip_family"}
	return proxyMetrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubeproxy_sync_proxy_rules_duration_seconds", Help: "SyncProxyRules latency in seconds",
			Buckets: roundBuckets()}, family),
		programming: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubeproxy_network_programming_duration_seconds",
			Help: "In Cluster Network Programming Latency in seconds",
			// The upstream buckets: fine below a second, by seconds to a minute, then coarse.
			Buckets: append(append([]float64{0.25, 0.5}, prometheus.LinearBuckets(1, 1, 59)...),
				append(prometheus.LinearBuckets(60, 5, 12), prometheus.LinearBuckets(120, 30, 7)...)...)}, family),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
			Help: "The last time proxy rules were successfully synced"}, family),
		queued: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
			Help: "The last time a sync of proxy rules was queued"}, family),
		noLocal: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
			Help: "Number of services with a Local traffic policy and no endpoints"}, []string{"traffic_policy", "ip_family"}),
		healthz: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubeproxy_proxy_healthz_total", Help: "Cumulative proxy healthz HTTP status"}, []string{"code"}),
		livez: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubeproxy_proxy_livez_total", Help: "Cumulative proxy livez HTTP status"}, []string{"code"}),
	}
}

func newOwnMetrics() ownMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "kube_ipvs_proxy_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "kube_ipvs_proxy_" + name, Help: help})
	}
	return ownMetrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kube_ipvs_proxy_operations_total",
			Help: "Kernel operations by kind of object and verb"}, []string{"object", "verb"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kube_ipvs_proxy_operation_failures_total",
			Help: "Kernel operations that failed and will be tried again"}, []string{"object", "verb"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kube_ipvs_proxy_step_failures_total",
			Help: "Failures of steps that concern the whole node"}, []string{"step"}),
		waiting:  gauge("waiting_objects", "Objects whose operations failed and will be tried again"),
		retried:  counter("retried_objects_total", "Objects that were looked at again because an operation had failed"),
		services: counter("translated_services_total", "Services translated into desired objects"),
		drifted:  counter("drifted_objects_total", "Objects that somebody else had changed, found by audits"),
		repaired: counter("foundation_repairs_total", "Parts of the foundation (device, sets, rules) that had to be put right"),
		audit: auditMetrics{
			last: gauge("last_audit_timestamp_seconds", "When the whole kernel was last compared with the desired state"),
			took: gauge("last_audit_duration_seconds", "How long the last comparison of the whole kernel with the desired state took"),
		},
		draining: gauge("draining_real_servers", "Real servers that are not wanted any more and keep their connections"),
	}
}

// Queued implements reconcile.Observer.
func (m *Metrics) Queued(at time.Time) {
	for _, family := range m.families {
		m.proxy.queued.WithLabelValues(family.String()).Set(seconds(at))
	}
}

// RoundDone implements reconcile.Observer.
func (m *Metrics) RoundDone(round reconcile.Round) {
	now := m.clock.Now()
	for _, family := range m.families {
		m.proxy.duration.WithLabelValues(family.String()).Observe(round.Duration.Seconds())
		m.proxy.last.WithLabelValues(family.String()).Set(seconds(now))
		m.programmed(family, round.Triggered, now)
		for policy, external := range map[string]bool{"internal": false, "external": true} {
			lack := round.Present.NoLocal[reconcile.NoLocal{Family: family, External: external}]
			m.proxy.noLocal.WithLabelValues(policy, family.String()).Set(float64(lack))
		}
	}
	m.own.retried.Add(float64(round.Present.Retried))
	m.own.draining.Set(float64(round.Present.Draining))
	m.own.services.Add(float64(round.Services))
	m.own.waiting.Set(float64(round.Waiting))
	type work struct {
		kind string
		verb dataplane.Verb
	}
	done := make(map[work]int) // a round can have ten thousands of operations, and finding a counter takes long
	for _, op := range round.Operations {
		done[work{kind(op.Object), op.Verb}]++
	}
	for w, count := range done {
		m.own.operations.WithLabelValues(w.kind, w.verb.String()).Add(float64(count))
	}
	for _, failure := range round.Failures {
		m.own.failures.WithLabelValues(kind(failure.Operation.Object), failure.Operation.Verb.String()).Inc()
	}
}

// programmed takes note of how long endpoint changes of a family took until they were in the kernel. One of an unknown
// family counts for each.
func (m *Metrics) programmed(family dataplane.Family, triggers []reconcile.Trigger, now time.Time) {
	if len(triggers) == 0 {
		return
	}
	histogram := m.proxy.programming.WithLabelValues(family.String())
	for _, trigger := range triggers {
		if trigger.Family == family || trigger.Family == 0 {
			histogram.Observe(now.Sub(trigger.At).Seconds())
		}
	}
}

// HealthAnswered counts an answer of the health address by its path and status. Paths other than /healthz and /livez do
// not count.
func (m *Metrics) HealthAnswered(path string, status int) {
	switch path {
	case "/healthz":
		m.proxy.healthz.WithLabelValues(strconv.Itoa(status)).Inc()
	case "/livez":
		m.proxy.livez.WithLabelValues(strconv.Itoa(status)).Inc()
	}
}

// kind names the kind of an object as a label value.
func kind(object dataplane.Object) string {
	switch object.(type) {
	case dataplane.VirtualServer:
		return "virtual_server"
	case dataplane.Member:
		return "real_server"
	case dataplane.Address:
		return "address"
	case dataplane.Entry:
		return "set_entry"
	case dataplane.Flows:
		return "conntrack_flows"
	}
	return "other"
}

// StepDone implements reconcile.Observer.
func (m *Metrics) StepDone(step reconcile.Step, err error) {
	if err == nil {
		return
	}
	m.own.steps.WithLabelValues(string(step)).Inc()
}

// Audited implements reconcile.Observer.
func (m *Metrics) Audited(audit reconcile.Audit) {
	m.own.drifted.Add(float64(audit.Drifted))
	m.own.repaired.Add(float64(len(audit.Repaired)))
	m.own.audit.last.Set(seconds(audit.At))
	m.own.audit.took.Set(audit.Duration.Seconds())
}

// Problems implements reconcile.Observer.
func (m *Metrics) Problems(object string, problems []service.Problem) {
	m.problems.replace(object, problems)
}

// NodeChanged implements reconcile.Observer.
func (m *Metrics) NodeChanged(service.Node) {}

func seconds(at time.Time) float64 { return float64(at.UnixNano()) / 1e9 }
