package metrics

import "github.com/prometheus/client_golang/prometheus"

// outcomes tells, at each scrape, what became of Events.
type outcomes struct {
	read        func() map[string]float64
	description *prometheus.Desc
}

// EventOutcomes returns a metric of how many Kubernetes Events about Services were created, refused and so on. read returns
// the count of each outcome; it may be called from any goroutine.
func EventOutcomes(read func() map[string]float64) prometheus.Collector {
	return outcomes{read, prometheus.NewDesc("kube_ipvs_proxy_events_total",
		"Kubernetes Events about problems of Services, by what became of them on this node", []string{"outcome"}, nil)}
}

// Describe implements prometheus.Collector.
func (o outcomes) Describe(out chan<- *prometheus.Desc) { out <- o.description }

// Collect implements prometheus.Collector.
func (o outcomes) Collect(out chan<- prometheus.Metric) {
	for outcome, n := range o.read() {
		out <- prometheus.MustNewConstMetric(o.description, prometheus.CounterValue, n, outcome)
	}
}
