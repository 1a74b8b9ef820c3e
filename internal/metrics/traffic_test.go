package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/metrics"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// table is an IPVS table, with what is wanted of it.
type table struct {
	servers []reconcile.Server
	usage   map[dataplane.VirtualServerKey]dataplane.Usage
	fail    error // of the next readings
	told    []error

	mu                sync.Mutex
	reading, together int // at present, and at most at a time
	asked             []dataplane.VirtualServerKey
}

func newTable() *table { return &table{usage: map[dataplane.VirtualServerKey]dataplane.Usage{}} }

// wants has a port of a Service wanted at an address, and nothing counted yet.
func (k *table) wants(name, port, addr string) dataplane.VirtualServerKey {
	key := at(addr)
	k.servers = append(k.servers, reconcile.Server{Key: key,
		Owner: reconcile.Owner{Source: "api", Service: service.Name{Namespace: "default", Name: name}, Port: port}})
	k.usage[key] = dataplane.Usage{}
	return key
}

func at(addr string) dataplane.VirtualServerKey {
	ap := netip.MustParseAddrPort(addr)
	return dataplane.KeyOf(dataplane.TCP, ap.Addr(), ap.Port())
}

// counts has n connections counted at an address, and packets and bytes with them, and some present ones.
func (k *table) counts(addr string, n uint64, servers ...dataplane.Load) {
	k.usage[at(addr)] = dataplane.Usage{Servers: servers, Traffic: dataplane.Traffic{
		Connections: n, InPackets: 2 * n, OutPackets: 3 * n, InBytes: 40 * n, OutBytes: 500 * n}}
}

func serves(addr string, weight, active, inactive uint32) dataplane.Load {
	return dataplane.Load{RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort(addr), Weight: weight}, Active: active, Inactive: inactive}
}

func (k *table) source() metrics.TrafficSource {
	return metrics.TrafficSource{
		Servers: func(context.Context) ([]reconcile.Server, error) { return k.servers, nil },
		Usage: func(ctx context.Context, keys []dataplane.VirtualServerKey, visit func(dataplane.VirtualServerKey, dataplane.Usage)) error {
			k.mu.Lock()
			k.reading++
			k.together, k.asked = max(k.together, k.reading), keys
			k.mu.Unlock()
			defer func() { k.mu.Lock(); k.reading--; k.mu.Unlock() }()
			for _, key := range keys {
				if usage, there := k.usage[key]; there {
					visit(key, usage)
				}
			}
			return k.fail
		},
		Failed: func(err error) { k.told = append(k.told, err) },
	}
}

func registered(k *table, limits metrics.TrafficLimits) *prometheus.Registry {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.Traffic(k.source(), limits))
	return registry
}

// expectValues checks some metrics by name and label values, in the order of the labels' names; a negative one must not be there.
func expectValues(t *testing.T, registry *prometheus.Registry, when string, want map[string]float64) {
	t.Helper()
	got := values(t, registry)
	for name, value := range want {
		if has, there := got["kube_ipvs_proxy_"+name]; there != (value >= 0) || there && has != value {
			t.Errorf("%s: %s is %v (there: %v), want %v", when, name, has, there, value)
		}
	}
}

var many = metrics.TrafficLimits{Services: 100, Endpoints: 100}

// What goes through all virtual servers of a port is that port's.
func TestTrafficOfAPort(t *testing.T) {
	k := newTable()
	k.wants("web", "http", "10.96.0.1:80")
	k.wants("web", "http", "192.0.2.1:30080")
	k.wants("web", "", "10.96.0.1:81")
	k.counts("10.96.0.1:80", 5, serves("10.0.0.1:8080", 1, 2, 3), serves("10.0.0.2:8080", 0, 4, 0))
	k.counts("192.0.2.1:30080", 2, serves("10.0.0.1:8080", 1, 1, 0))
	expectValues(t, registered(k, many), "both", map[string]float64{
		"service_connections_total web default http":                   7,
		"service_packets_total in web default http":                    14,
		"service_packets_total out web default http":                   21,
		"service_bytes_total in web default http":                      280,
		"service_bytes_total out web default http":                     3500,
		"service_active_connections web default http":                  7,
		"service_inactive_connections web default http":                3,
		"service_connections_total web default ":                       0,
		"endpoint_active_connections 10.0.0.1:8080 web default http":   3,
		"endpoint_inactive_connections 10.0.0.1:8080 web default http": 3,
		"endpoint_active_connections 10.0.0.2:8080 web default http":   4,
		"endpoint_weight 10.0.0.1:8080 web default http":               1,
		"endpoint_weight 10.0.0.2:8080 web default http":               0,
		"service_metrics_omitted":                                      0,
		"endpoint_metrics_omitted":                                     0,
		"service_metrics_failures_total":                               0,
	})
}

// A total never goes back while its port exists, whatever becomes of the virtual servers, and counts nothing twice.
func TestTrafficTotalsNeverGoBack(t *testing.T) {
	const vip, node = "10.96.0.1:80", "192.0.2.1:30080"
	k := newTable()
	k.wants("web", "http", vip)
	k.wants("web", "http", node)
	registry := registered(k, many)
	all := k.servers
	for _, step := range []struct {
		does string
		do   func()
		want float64
	}{
		{"connections from before the first reading", func() { k.counts(vip, 5) }, 5},
		{"more at both", func() { k.counts(vip, 8); k.counts(node, 1) }, 9},
		{"nothing new", func() {}, 9},
		{"zeroed", func() { k.counts(vip, 0) }, 9},
		{"and used", func() { k.counts(vip, 2) }, 11},
		{"made anew between two readings", func() { k.counts(vip, 1) }, 12},
		{"deleted by hand", func() { delete(k.usage, at(vip)) }, 12},
		{"still", func() {}, 12},
		{"made anew and used more than ever", func() { k.counts(vip, 20) }, 32},
		{"not wanted any more, and not deleted yet", func() { k.servers = all[1:]; k.counts(vip, 21) }, 32},
		{"still", func() { k.counts(vip, 22) }, 32},
		{"wanted again", func() { k.servers = all; k.counts(vip, 23) }, 33},
		{"not wanted, and deleted", func() { k.servers = all[1:]; delete(k.usage, at(vip)) }, 33},
		{"made anew", func() { k.servers = all; k.counts(vip, 50) }, 83},
	} {
		step.do()
		expectValues(t, registry, step.does, map[string]float64{"service_connections_total web default http": step.want,
			"service_bytes_total out web default http": 500 * step.want})
	}
	k.servers = nil
	expectValues(t, registry, "the Service is gone", map[string]float64{"service_connections_total web default http": -1, "service_metrics_omitted": 0})
	if len(k.asked) != 2 {
		t.Errorf("%v are read; what was read before is until it is gone", k.asked)
	}
	clear(k.usage)
	_, _ = values(t, registry), values(t, registry)
	if len(k.asked) != 0 {
		t.Errorf("%v are read, and nothing is there or wanted", k.asked)
	}
	k.servers = all
	k.counts(vip, 4)
	expectValues(t, registry, "another Service of that name", map[string]float64{"service_connections_total web default http": 4})
}

// Services of one name, which two sources can deliver, do not spoil a scrape.
func TestTrafficOfTwoServicesOfOneName(t *testing.T) {
	k := newTable()
	k.wants("web", "http", "10.96.0.1:80")
	k.wants("web", "http", "10.96.0.2:80")
	k.servers[1].Owner.Source = "manifests"
	k.counts("10.96.0.1:80", 1)
	k.counts("10.96.0.2:80", 2)
	expectValues(t, registered(k, many), "both", map[string]float64{"service_connections_total web default http": 3})
}

// More ports than the limit are left out, said to be, and not even read; who is shown again has missed nothing.
func TestTrafficIsBounded(t *testing.T) {
	k := newTable()
	for i := range 5 {
		name := fmt.Sprintf("web-%d", i)
		addr := fmt.Sprintf("10.96.0.%d:80", i)
		k.wants(name, "http", addr)
		k.counts(addr, 10, serves("10.0.0.1:80", 1, 1, 0), serves("10.0.0.2:80", 1, 1, 0))
	}
	registry := registered(k, metrics.TrafficLimits{Services: 3, Endpoints: 5})
	got := values(t, registry)
	series := 0
	for name := range got {
		if strings.Contains(name, " ") {
			series++
		}
	}
	if want := 3*7 + 5*3; series != want || len(k.asked) != 3 {
		t.Errorf("%d series of %d virtual servers, want %d of 3", series, len(k.asked), want)
	}
	expectValues(t, registry, "bounded", map[string]float64{"service_metrics_omitted": 2, "endpoint_metrics_omitted": 1,
		"service_connections_total web-2 default http": 10, "service_connections_total web-3 default http": -1,
		"endpoint_weight 10.0.0.1:80 web-2 default http": 1, "endpoint_weight 10.0.0.2:80 web-2 default http": -1})
	all := k.servers
	k.wants("a-new-one", "http", "10.96.0.9:80")
	expectValues(t, registry, "pushed out", map[string]float64{"service_metrics_omitted": 3, "service_connections_total web-2 default http": -1})
	k.servers = all
	k.counts("10.96.0.2:80", 15)
	expectValues(t, registry, "back", map[string]float64{"service_metrics_omitted": 2, "service_connections_total web-2 default http": 15})
	expectValues(t, registered(k, metrics.TrafficLimits{Services: 1}), "without endpoints", map[string]float64{
		"service_active_connections web-0 default http": 2, "endpoint_weight 10.0.0.1:80 web-0 default http": -1, "endpoint_metrics_omitted": -1})
}

// A reading that fails is counted, told once, and leaves the rest of the scrape as it is; nothing is lost or counted twice.
func TestTrafficThatCannotBeRead(t *testing.T) {
	k := newTable()
	k.wants("web", "http", "10.96.0.1:80")
	k.counts("10.96.0.1:80", 5)
	registry := registered(k, many)
	k.fail = errors.New("no answer")
	for i := range 3 {
		expectValues(t, registry, "failing", map[string]float64{"service_connections_total web default http": -1,
			"service_metrics_omitted": -1, "service_metrics_failures_total": float64(i + 1)})
	}
	if len(k.told) != 1 || !errors.Is(k.told[0], k.fail) {
		t.Errorf("told %v, want %v once", k.told, k.fail)
	}
	k.fail = nil
	k.counts("10.96.0.1:80", 6)
	expectValues(t, registry, "again", map[string]float64{"service_connections_total web default http": 6, "service_metrics_failures_total": 3})
	k.fail = errors.New("no answer")
	_ = values(t, registry)
	if len(k.told) != 2 {
		t.Errorf("told %v: after it went well, a failure is news", k.told)
	}
}

// A scrape does not wait for ever, and several at a time are one reading after the other.
func TestTrafficInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTable()
		k.wants("web", "http", "10.96.0.1:80")
		source := k.source()
		read, slow := source.Usage, time.Hour
		source.Usage = func(ctx context.Context, keys []dataplane.VirtualServerKey, visit func(dataplane.VirtualServerKey, dataplane.Usage)) error {
			err := read(ctx, keys, func(key dataplane.VirtualServerKey, usage dataplane.Usage) {
				select {
				case <-ctx.Done():
				case <-time.After(slow):
				}
				visit(key, usage)
			})
			return errors.Join(err, ctx.Err())
		}
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(metrics.Traffic(source, many))
		begun := time.Now()
		expectValues(t, registry, "too slow", map[string]float64{"service_active_connections web default http": -1, "service_metrics_failures_total": 1})
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it took %v, longer than Prometheus waits", took)
		}
		slow = time.Second
		var scrapes sync.WaitGroup
		for range 3 {
			scrapes.Go(func() {
				expectValues(t, registry, "together", map[string]float64{"service_active_connections web default http": 0})
			})
		}
		scrapes.Wait()
		if k.together != 1 {
			t.Errorf("%d readings at a time", k.together)
		}
	})
}
