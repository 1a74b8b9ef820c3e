package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ages tells, at each scrape, how long ago each source last heard anything.
type ages struct {
	read        func() map[string]time.Duration
	description *prometheus.Desc
}

// SourceAges returns a metric of how long ago the API server last said anything about each source, bookmarks included:
// after a fail-over to a stale server it keeps growing, while nothing else looks wrong (P30). A source that never heard
// anything is missing.
func SourceAges(read func() map[string]time.Duration) prometheus.Collector {
	return ages{read, prometheus.NewDesc("kube_ipvs_proxy_source_last_event_age_seconds",
		"Time since the API server last said anything about a source, bookmarks included", []string{"source"}, nil)}
}

// Describe implements prometheus.Collector.
func (a ages) Describe(out chan<- *prometheus.Desc) { out <- a.description }

// Collect implements prometheus.Collector.
func (a ages) Collect(out chan<- prometheus.Metric) {
	for source, age := range a.read() {
		out <- prometheus.MustNewConstMetric(a.description, prometheus.GaugeValue, age.Seconds(), source)
	}
}
