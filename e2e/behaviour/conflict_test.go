package behaviour

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// patienceForEvents is for Events, with which a daemon waits the longer the more often others were quicker, five minutes at
// most. Here, the daemons of all tests see the same Services.
const patienceForEvents = 6 * time.Minute

// Of two Services that want the same addresses and ports the older one is served, although the other comes first by name;
// the other is told so by an Event, and by a metric of the daemon, and takes over when the older one goes. Its own
// addresses are served all the time.
func TestConflictingServices(t *testing.T) {
	t.Parallel()
	const port = 8085 // of their own: an address that they give up may be another test's at once
	s := sharedScene(t)
	older := s.AddService(t, "z-older", func(c *corev1.Service) { c.Spec.Ports = cluster.Ports(port, topology.Protocols()...) })
	older.SetEndpoints(t, s.Endpoint(s.web))
	older.Expose(t)
	ways := cluster.Of(cluster.Ways(cluster.ClusterIP, cluster.ExternalIP), topology.TCP)
	s.await(t, older, "web", ways...)
	younger := s.addYounger(t, older, "a-younger", func(c *corev1.Service) {
		c.Spec.Ports = cluster.Ports(port, topology.TCP)
		for _, way := range ways {
			c.Spec.ExternalIPs = append(c.Spec.ExternalIPs, older.Address(way.Kind, way.Family).String())
		}
	})
	younger.SetEndpoints(t, s.Endpoint(s.far))
	s.Settle(t)
	s.await(t, younger, "far", cluster.Of(cluster.Ways(cluster.ClusterIP), topology.TCP)...)
	s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
		if answer := ask(t, from.from, older.Target(way)); answer.Backend != "web" {
			t.Errorf("%s answers, want web, of the older Service", answer.Backend)
		}
	})
	cluster.Await(t, "the metric", func() error {
		metrics, err := s.daemon.Get("10249", "/metrics")
		if err == nil && strings.Contains(metrics, "\nkube_ipvs_proxy_services_in_conflict 0\n") {
			err = fmt.Errorf("no Service is in conflict")
		}
		return err
	})
	cluster.AwaitFor(t, patienceForEvents, "an Event on the younger Service", func() error { return tellsOf(t, younger, older) })
	if events := older.Events(t); len(events) > 0 {
		t.Errorf("the older Service is told %q", events[0].Message)
	}
	older.Delete(t)
	for _, way := range ways {
		for _, from := range s.askers(way.Kind) {
			cluster.AwaitAnswer(t, from.from, older.Target(way), "far")
		}
	}
}

// addYounger creates a Service with a later time of creation than another one. Those are whole seconds.
func (s *scene) addYounger(t *testing.T, older *cluster.Service, name string, change func(*corev1.Service)) *cluster.Service {
	t.Helper()
	var younger *cluster.Service
	cluster.Await(t, "a Service of another second", func() error {
		younger = s.AddService(t, name, change)
		if younger.CreationTimestamp.After(older.CreationTimestamp.Time) {
			return nil
		}
		younger.Delete(t)
		return fmt.Errorf("both were created at %v", older.CreationTimestamp)
	})
	return younger
}

// tellsOf looks for the Event that a Service lost to another one.
func tellsOf(t *testing.T, loser, winner *cluster.Service) error {
	t.Helper()
	events := loser.Events(t)
	for _, event := range events {
		if event.Type == corev1.EventTypeWarning && event.Reason == "ServiceConflict" && event.ReportingController == "kube-ipvs-proxy" &&
			strings.HasPrefix(event.Message, "spec.externalIPs ") && strings.Contains(event.Message, "Service "+winner.Namespace+"/"+winner.Name+" ") {
			return nil
		}
	}
	return fmt.Errorf("none of the %d Events says so: %v", len(events), events)
}
