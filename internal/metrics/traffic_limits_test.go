package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/metrics"
)

// shownPorts lists how many ports and endpoints a scrape shows.
func shownPorts(t *testing.T, registry *prometheus.Registry) (ports, endpoints int) {
	t.Helper()
	for name := range values(t, registry) {
		switch {
		case strings.HasPrefix(name, "kube_ipvs_proxy_service_connections_total "):
			ports++
		case strings.HasPrefix(name, "kube_ipvs_proxy_endpoint_weight "):
			endpoints++
		}
	}
	return ports, endpoints
}

// As many are shown as the limits allow, to the last one, and all others are said to be left out.
func TestTrafficAtTheLimits(t *testing.T) {
	k := newTable()
	for i := range 4 { // with two endpoints each
		addr := fmt.Sprintf("10.96.0.%d:80", i)
		k.wants(fmt.Sprint("web-", i), "http", addr)
		k.counts(addr, 1, serves("10.0.0.1:80", 1, 0, 0), serves("10.0.0.2:80", 1, 0, 0))
	}
	for _, c := range []struct{ services, endpoints, ports, ends int }{
		{1, 1, 1, 1}, {1, 2, 1, 2}, {1, 3, 1, 2}, {3, 8, 3, 6}, {4, 7, 4, 7}, {4, 8, 4, 8}, {4, 9, 4, 8}, {5, 4, 4, 4},
	} {
		registry := registered(k, metrics.TrafficLimits{Services: c.services, Endpoints: c.endpoints})
		ports, endpoints := shownPorts(t, registry)
		if ports != c.ports || endpoints != c.ends {
			t.Errorf("limits %d and %d: %d ports and %d endpoints, want %d and %d", c.services, c.endpoints, ports, endpoints, c.ports, c.ends)
		}
		expectValues(t, registry, fmt.Sprintf("limits %d and %d", c.services, c.endpoints), map[string]float64{
			"service_metrics_omitted": float64(4 - c.ports), "endpoint_metrics_omitted": float64(2*c.ports - c.ends)})
	}
}

// Of Services that come and go nothing is kept, were they shown or not; those that stay go on where they were.
func TestTrafficForgetsWhatHasGone(t *testing.T) {
	k := newTable()
	k.wants("always", "http", "10.96.0.1:80")
	registry := registered(k, metrics.TrafficLimits{Services: 40, Endpoints: 10})
	always := k.servers
	const times, each = 100, 100
	for round := range times {
		k.servers = always
		clear(k.usage)
		k.counts("10.96.0.1:80", uint64(round+1))
		for i := range each {
			addr := fmt.Sprintf("10.97.%d.%d:80", round, i)
			k.wants(fmt.Sprintf("passing-%d-%d", round, i), "http", addr)
			k.counts(addr, 3, serves("10.0.0.1:80", 1, 0, 0))
		}
		expectValues(t, registry, "at the end of a round", map[string]float64{"service_connections_total always default http": float64(round + 1),
			"service_metrics_omitted": each + 1 - 40})
		if len(k.asked) > 40+39 {
			t.Fatalf("round %d: %d virtual servers are read; 40 are shown, and 39 were", round, len(k.asked))
		}
	}
	k.servers = always
	clear(k.usage)
	_, _ = values(t, registry), values(t, registry)
	if ports, endpoints := shownPorts(t, registry); len(k.asked) != 1 || ports != 1 || endpoints != 0 {
		t.Errorf("%d are read, %d ports and %d endpoints shown; only one is there", len(k.asked), ports, endpoints)
	}
}

// What one port or Service has counted is not given to the next that has its address.
func TestTrafficOfAnAddressThatChangesHands(t *testing.T) {
	k := newTable()
	k.wants("web", "http", "10.96.0.1:80")
	k.counts("10.96.0.1:80", 7)
	registry := registered(k, many)
	expectValues(t, registry, "first", map[string]float64{"service_connections_total web default http": 7})
	k.servers[0].Owner.Port = "www"
	k.counts("10.96.0.1:80", 9)
	expectValues(t, registry, "the port is renamed", map[string]float64{"service_connections_total web default http": -1,
		"service_connections_total web default www": 2})
	k.servers[0].Owner.Service.Name = "other"
	k.counts("10.96.0.1:80", 3)
	expectValues(t, registry, "deleted, and made anew for another Service", map[string]float64{"service_connections_total web default www": -1,
		"service_connections_total other default www": 3})
}

// Labels are UTF-8. A name that is not does not cost the scrape, and neither do two that become one.
func TestTrafficOfNamesThatAreNoText(t *testing.T) {
	k := newTable()
	k.wants("we\xff", "ht\xfetp", "10.96.0.1:80")
	k.wants("we\xfd", "ht\xfctp", "10.96.0.2:80")
	k.counts("10.96.0.1:80", 1, serves("10.0.0.1:80", 1, 0, 0))
	k.counts("10.96.0.2:80", 2, serves("10.0.0.1:80", 1, 0, 0))
	expectValues(t, registered(k, many), "no text", map[string]float64{"service_connections_total we\uFFFD default ht\uFFFDtp": 3})
}

// An error in the middle of a reading loses nothing of what was read before it, nor counts that twice.
func TestTrafficThatFailsHalfWay(t *testing.T) {
	k := newTable()
	for i := range 6 {
		k.wants("web", "http", fmt.Sprintf("10.96.0.%d:80", i))
		k.counts(fmt.Sprintf("10.96.0.%d:80", i), 1)
	}
	source, patience := k.source(), 0 // visits before it fails
	read, refused := source.Usage, errors.New("no buffer space")
	source.Usage = func(ctx context.Context, keys []dataplane.VirtualServerKey, visit func(dataplane.VirtualServerKey, dataplane.Usage)) error {
		visits, failed := 0, false
		err := read(ctx, keys, func(key dataplane.VirtualServerKey, usage dataplane.Usage) {
			if failed = failed || visits == patience; !failed {
				visits++
				visit(key, usage)
			}
		})
		if failed {
			return refused
		}
		return err
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.Traffic(source, many))
	for patience = range 6 {
		expectValues(t, registry, "half", map[string]float64{"service_connections_total web default http": -1,
			"service_metrics_failures_total": float64(patience + 1)})
	}
	patience = 6
	for i := range 6 {
		k.counts(fmt.Sprintf("10.96.0.%d:80", i), 2)
	}
	expectValues(t, registry, "whole", map[string]float64{"service_connections_total web default http": 12})
}
