package behaviour

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// The metrics of a Service count what clients do by all of its addresses together, and go on counting when a virtual server
// was deleted by hand and made anew; with the Service they go.
func TestTrafficMetrics(t *testing.T) {
	t.Parallel()
	s := newScene(t, "--ipvs-sync-period=2s", "--endpoint-metrics-limit=10000")
	service := s.AddService(t, "counted", cluster.Type(corev1.ServiceTypeNodePort))
	service.SetEndpoints(t, s.Endpoint(s.web))
	ways := cluster.Of(cluster.Ways(cluster.ClusterIP, cluster.NodePort), topology.TCP)
	s.awaitTable(t, service, ways, "rr", s.web)
	s.Settle(t) // not by asking, which would count
	asked := 0
	for _, way := range ways {
		for range 3 {
			ask(t, s.askers(way.Kind)[0].from, service.Target(way))
			asked++
		}
	}
	session, err := probe.Open(t.Context(), s.client.Netns, service.Target(ways[0]))
	if err != nil {
		t.Fatal(err)
	}
	asked++
	s.awaitMetrics(t, service, map[string]string{
		"service_connections_total{SERVICE,port=\"tcp\"}":  fmt.Sprint(asked),
		"service_connections_total{SERVICE,port=\"udp\"}":  "0",
		"service_active_connections{SERVICE,port=\"tcp\"}": "1",
		"service_metrics_omitted":                          "0",
		s.endpointMetric("active_connections"):             "1",
		s.endpointMetric("weight"):                         "1",
	})
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	if metrics := s.metrics(t, service); metrics["service_bytes_total{direction=\"in\",SERVICE,port=\"tcp\"}"] == "0" ||
		metrics["service_packets_total{direction=\"out\",SERVICE,port=\"tcp\"}"] == "0" {
		t.Errorf("bytes or packets are missing in %v", metrics)
	}
	cluster.Run(t, s.Node.Netns, "ipvsadm", "-D", "-t", service.Target(ways[0]).AddrPort.String())
	s.awaitTable(t, service, ways, "rr", s.web)
	for _, way := range ways {
		ask(t, s.askers(way.Kind)[0].from, service.Target(way))
		asked++
	}
	s.awaitMetrics(t, service, map[string]string{"service_connections_total{SERVICE,port=\"tcp\"}": fmt.Sprint(asked)})
	service.Delete(t)
	cluster.Await(t, "the end of the metrics", func() error {
		for name := range s.metrics(t, service) {
			if strings.Contains(name, "SERVICE") {
				return fmt.Errorf("there is %s", name)
			}
		}
		return nil
	})
}

// endpointMetric is the name of a metric of the endpoint web.
func (s *scene) endpointMetric(what string) string {
	return fmt.Sprintf("endpoint_%s{endpoint=%q,SERVICE,port=\"tcp\"}", what,
		fmt.Sprintf("%s:%d", s.web.Address(topology.IPv4), cluster.TargetPort))
}

// metrics scrapes the daemon's own metrics. SERVICE stands for the labels of the Service.
func (s *scene) metrics(t *testing.T, service *cluster.Service) map[string]string {
	t.Helper()
	text, err := s.daemon.Get("10249", "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	labels := fmt.Sprintf("name=%q,namespace=%q", service.Name, service.Namespace)
	found := map[string]string{}
	for line := range strings.Lines(text) {
		if own, is := strings.CutPrefix(strings.TrimSpace(line), "kube_ipvs_proxy_"); is {
			name, value, _ := strings.Cut(strings.Replace(own, labels, "SERVICE", 1), " ")
			found[name] = value
		}
	}
	return found
}

// awaitMetrics waits for values: the kernel counts up to two seconds late.
func (s *scene) awaitMetrics(t *testing.T, service *cluster.Service, want map[string]string) {
	t.Helper()
	cluster.Await(t, "the metrics", func() error {
		got := s.metrics(t, service)
		for name, value := range want {
			if got[name] != value {
				return fmt.Errorf("%s is %q, want %q", name, got[name], value)
			}
		}
		return nil
	})
}
