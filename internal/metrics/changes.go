package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs-proxy/internal/reconcile"
)

// changes tells, at each scrape, what the sources have delivered.
type changes struct {
	read func() reconcile.Changes

	servicesPending, servicesTotal, endpointsPending, endpointsTotal *prometheus.Desc
}

// Changes returns kube-proxy's metrics of the changes to Services and EndpointSlices that were delivered, and of those that
// wait for the next round. read may be called from any goroutine. (kube-proxy counts a change to a Service once for each IP
// family, here it counts once.)
func Changes(read func() reconcile.Changes) prometheus.Collector {
	description := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("kubeproxy_sync_proxy_rules_"+name, help, nil, nil)
	}
	return changes{read,
		description("service_changes_pending", "Pending proxy rules Service changes"),
		description("service_changes_total", "Cumulative proxy rules Service changes"),
		description("endpoint_changes_pending", "Pending proxy rules Endpoint changes"),
		description("endpoint_changes_total", "Cumulative proxy rules Endpoint changes"),
	}
}

// Describe implements prometheus.Collector.
func (c changes) Describe(out chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{c.servicesPending, c.servicesTotal, c.endpointsPending, c.endpointsTotal} {
		out <- description
	}
}

// Collect implements prometheus.Collector.
func (c changes) Collect(out chan<- prometheus.Metric) {
	now := c.read()
	out <- prometheus.MustNewConstMetric(c.servicesPending, prometheus.GaugeValue, float64(now.Services.Pending))
	out <- prometheus.MustNewConstMetric(c.servicesTotal, prometheus.CounterValue, float64(now.Services.Total))
	out <- prometheus.MustNewConstMetric(c.endpointsPending, prometheus.GaugeValue, float64(now.Endpoints.Pending))
	out <- prometheus.MustNewConstMetric(c.endpointsTotal, prometheus.CounterValue, float64(now.Endpoints.Total))
}
