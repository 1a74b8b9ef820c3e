package metrics

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
)

// readingTime is how long a scrape waits for the counters of Services. Prometheus gives a scrape 10 seconds.
const readingTime = 5 * time.Second

// TrafficSource is where the metrics of single Services come from. Its functions are called at scrapes, one at a time and
// from any goroutine; their contexts end after five seconds.
type TrafficSource struct {
	// Servers returns the virtual servers that are wanted for Services.
	Servers func(context.Context) ([]reconcile.Server, error)
	// Usage calls visit for each of the virtual servers that is there. The real servers are visit's until it returns.
	Usage func(ctx context.Context, keys []dataplane.VirtualServerKey, visit func(dataplane.VirtualServerKey, dataplane.Usage)) error
	// Failed, when set, is told why nothing could be read, once until that changes.
	Failed func(error)
}

// TrafficLimits bound how many series a scrape has.
type TrafficLimits struct {
	Services  int // ports of Services with metrics, 7 series each
	Endpoints int // endpoints of these ports with metrics, 3 series each; 0 for none
}

// Traffic returns metrics of single ports of Services, and of their endpoints, that are read at each scrape. What IPVS
// counts begins at 0 whenever a virtual server is made anew or its counters are zeroed; the totals here do not, as long as the
// port exists. Of more ports or endpoints than the limits allow, the first in the order of their names have metrics,
// which are the same on every node. When nothing can be read, the scrape is without them, and that counts as a failure.
func Traffic(source TrafficSource, limits TrafficLimits) prometheus.Collector {
	return &traffic{source: source, limits: limits, services: newServiceMetrics(), endpoints: newEndpointMetrics(),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "kube_ipvs_proxy_service_metrics_failures_total",
			Help: "Scrapes without metrics of single Services, because they could not be read in time"}),
		turn: make(chan struct{}, 1), totals: newTotals()}
}

// traffic reads, at each scrape, what clients do.
type traffic struct {
	source    TrafficSource
	limits    TrafficLimits
	services  serviceMetrics
	endpoints endpointMetrics
	failures  prometheus.Counter
	turn      chan struct{} // full while somebody reads
	// Touched by who has the turn:
	totals  totals
	failure string // what was told last
}

type (
	serviceMetrics  struct{ connections, bytes, packets, active, inactive, omitted *prometheus.Desc }
	endpointMetrics struct{ active, inactive, weight, omitted *prometheus.Desc }
)

func newServiceMetrics() serviceMetrics {
	description := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("kube_ipvs_proxy_service_"+name, help, append([]string{"namespace", "name", "port"}, more...), nil)
	}
	return serviceMetrics{
		connections: description("connections_total", "Connections (UDP: flows) to a port of a Service that IPVS on this node gave to an endpoint"),
		bytes: description("bytes_total", "Bytes of the packets of a Service's port through this node, IP headers included; "+
			"in: from clients, out: to them", "direction"),
		packets: description("packets_total", "Packets of a Service's port through this node; in: from clients, out: to them",
			"direction"),
		active: description("active_connections", "Established TCP and SCTP connections to a port of a Service through this node"),
		inactive: description("inactive_connections",
			"TCP and SCTP connections to a port of a Service that begin or end, and UDP flows, through this node"),
		omitted: prometheus.NewDesc("kube_ipvs_proxy_service_metrics_omitted",
			"Ports of Services without metrics of their own, because there are more than --service-metrics-limit", nil, nil),
	}
}

func newEndpointMetrics() endpointMetrics {
	description := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("kube_ipvs_proxy_endpoint_"+name, help, []string{"namespace", "name", "port", "endpoint"}, nil)
	}
	return endpointMetrics{
		active: description("active_connections",
			"Established TCP and SCTP connections from this node to an endpoint, for a port of a Service"),
		inactive: description("inactive_connections",
			"TCP and SCTP connections that begin or end, and UDP flows, from this node to an endpoint, for a port of a Service"),
		weight: description("weight", "Weight of an endpoint in IPVS, for a port of a Service; 0 while it drains"),
		omitted: prometheus.NewDesc("kube_ipvs_proxy_endpoint_metrics_omitted",
			"Endpoints without metrics of their own, because there are more than --endpoint-metrics-limit", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (t *traffic) Describe(out chan<- *prometheus.Desc) {
	s, e := t.services, t.endpoints
	for _, description := range []*prometheus.Desc{s.connections, s.bytes, s.packets, s.active, s.inactive, s.omitted,
		e.active, e.inactive, e.weight, e.omitted} {
		out <- description
	}
	t.failures.Describe(out)
}

// Collect implements prometheus.Collector.
func (t *traffic) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readingTime)
	defer cancel()
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
		t.collect(ctx, out)
	case <-ctx.Done():
		t.failures.Inc()
	}
	t.failures.Collect(out)
}

// collect reads and tells, or takes note that it cannot.
func (t *traffic) collect(ctx context.Context, out chan<- prometheus.Metric) {
	found, err := t.totals.read(ctx, t.source, t.limits)
	if err != nil {
		t.failures.Inc()
		if t.source.Failed != nil && t.failure != err.Error() {
			t.source.Failed(fmt.Errorf("read the metrics of Services: %w", err))
		}
		t.failure = err.Error()
		return
	}
	t.failure = ""
	room := t.limits.Endpoints
	omitted := 0
	for _, port := range found.shown {
		use := t.totals.ports[port]
		t.services.send(out, port, use)
		if t.limits.Endpoints > 0 {
			left := t.endpoints.send(out, port, use, room)
			room, omitted = max(0, room-len(use.endpoints)), omitted+left
		}
	}
	out <- prometheus.MustNewConstMetric(t.services.omitted, prometheus.GaugeValue, float64(found.omitted))
	if t.limits.Endpoints > 0 {
		out <- prometheus.MustNewConstMetric(t.endpoints.omitted, prometheus.GaugeValue, float64(omitted))
	}
}

// send tells the metrics of one port.
func (m serviceMetrics) send(out chan<- prometheus.Metric, port servedPort, use *portUse) {
	tell := func(description *prometheus.Desc, kind prometheus.ValueType, value uint64, direction ...string) {
		out <- prometheus.MustNewConstMetric(description, kind, float64(value), append(port.labels(), direction...)...)
	}
	tell(m.connections, prometheus.CounterValue, use.total.Connections)
	tell(m.bytes, prometheus.CounterValue, use.total.InBytes, "in")
	tell(m.bytes, prometheus.CounterValue, use.total.OutBytes, "out")
	tell(m.packets, prometheus.CounterValue, use.total.InPackets, "in")
	tell(m.packets, prometheus.CounterValue, use.total.OutPackets, "out")
	tell(m.active, prometheus.GaugeValue, use.active)
	tell(m.inactive, prometheus.GaugeValue, use.inactive)
}

// send tells the metrics of a port's endpoints, as many as there is room for, and returns how many it leaves out.
func (m endpointMetrics) send(out chan<- prometheus.Metric, port servedPort, use *portUse, room int) (left int) {
	addresses := sortedKeys(use.endpoints, netip.AddrPort.Compare)
	for i, addr := range addresses {
		if i == room {
			return len(addresses) - i
		}
		labels, load := append(port.labels(), addr.String()), use.endpoints[addr]
		out <- prometheus.MustNewConstMetric(m.active, prometheus.GaugeValue, float64(load.active), labels...)
		out <- prometheus.MustNewConstMetric(m.inactive, prometheus.GaugeValue, float64(load.inactive), labels...)
		out <- prometheus.MustNewConstMetric(m.weight, prometheus.GaugeValue, float64(load.weight), labels...)
	}
	return 0
}
