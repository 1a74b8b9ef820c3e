package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs-proxy/internal/dataplane"
)

// Kernel counts what the kernel's drivers report: of kube-proxy's metrics those that are about iptables and connection
// tracking. It is safe for concurrent use.
type Kernel struct {
	restores *prometheus.CounterVec
	passes   *prometheus.HistogramVec
	deleted  *prometheus.CounterVec
}

// NewKernel returns metrics and registers them.
func NewKernel(registry prometheus.Registerer) *Kernel {
	family := []string{"ip_family"}
	k := &Kernel{
		restores: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
			Help: "Cumulative proxy iptables restore failures"}, family),
		passes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubeproxy_conntrack_reconciler_sync_duration_seconds",
			Help: "ReconcileConntrackFlowsLatency latency in seconds", Buckets: roundBuckets()}, family),
		deleted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubeproxy_conntrack_reconciler_deleted_entries_total",
			Help: "Cumulative conntrack flows deleted by conntrack reconciler"}, family),
	}
	registry.MustRegister(k.restores, k.passes, k.deleted)
	return k
}

// RestoreFailed counts an iptables-restore that failed.
func (k *Kernel) RestoreFailed(family dataplane.Family) {
	k.restores.WithLabelValues(family.String()).Inc()
}

// FlowsDeleted counts a search through the connections that the kernel tracks, which deleted so many of them.
func (k *Kernel) FlowsDeleted(family dataplane.Family, took time.Duration, entries int) {
	k.passes.WithLabelValues(family.String()).Observe(took.Seconds())
	k.deleted.WithLabelValues(family.String()).Add(float64(entries))
}

// roundBuckets are kube-proxy's bounds for what one round takes: from a millisecond to 16 seconds, in powers of two.
func roundBuckets() []float64 { return prometheus.ExponentialBuckets(0.001, 2, 15) }
