package behaviour

import (
	"fmt"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// rr spreads evenly, lc prefers the endpoint with fewer connections, sh sends a source to one endpoint. A restart with
// another scheduler edits the virtual servers. Every scheduler that the kernel has is accepted.
func TestB20_Schedulers(t *testing.T) {
	t.Parallel()
	s := newScene(t, "--ipvs-scheduler=rr")
	service := s.AddService(t, "scheduled")
	service.SetEndpoints(t, s.both()...)
	ways := cluster.Ways(cluster.ClusterIP)
	s.AwaitIPVS(t, table(service, ways, "rr", s.web, s.far), ipsOf(service)...)
	for _, way := range ways {
		t.Run("rr/"+way.String(), func(t *testing.T) { s.spreadsEvenly(t, service.Target(way)) })
	}
	for _, scheduler := range s.schedulers(t) {
		s.daemon.Restart(t, "--ipvs-scheduler="+scheduler)
		s.AwaitIPVS(t, table(service, ways, scheduler+options(scheduler), s.web, s.far), ipsOf(service)...)
		for _, way := range ways {
			t.Run(scheduler+"/"+way.String(), func(t *testing.T) { s.schedules(t, scheduler, service, way) })
		}
	}
}

// schedules checks what is known of a scheduler.
func (s *scene) schedules(t *testing.T, scheduler string, service *cluster.Service, way cluster.Way) {
	t.Helper()
	switch scheduler {
	case "lc":
		s.prefersIdle(t, way)
	case "sh":
		s.sticks(t, service.Target(way))
	case "mh":
		s.fallsBack(t, service, way)
	default:
		ask(t, s.client.Netns, service.Target(way))
	}
}

// schedulers are those that this kernel has, of all that Linux has ever had.
func (s *scene) schedulers(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, name := range strings.Fields("wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh twos") {
		add := s.Client.Command(t.Context(), "ipvsadm", "-A", "-t", fmt.Sprintf("192.0.2.1:%d", 1+len(found)), "-s", name)
		if output, err := add.CombinedOutput(); err != nil {
			t.Logf("this kernel has no scheduler %s: %s", name, output)
			continue
		}
		found = append(found, name)
	}
	if len(found) < 3 {
		t.Fatalf("this kernel has no more schedulers than %s", found)
	}
	return found
}

// options are the flags that come with a scheduler (P14: the next real server stands in for one that drains).
func options(scheduler string) string {
	return map[string]string{"sh": " -b sh-fallback", "mh": " -b mh-fallback,mh-port"}[scheduler]
}

// fallsBack has one endpoint drain, to which the hash goes on sending about half of the clients' ports (P14).
func (s *scene) fallsBack(t *testing.T, service *cluster.Service, way cluster.Way) {
	t.Helper()
	session := s.hold(t, service.Target(way))
	service.SetEndpoints(t, s.Endpoint(s.web).Terminating(), s.Endpoint(s.far))
	s.Settle(t)
	if tally, err := probe.AskN(t.Context(), s.client.Netns, service.Target(way), 12); err != nil || tally.Backends["far"] != 12 {
		t.Errorf("while web drains: %v, %v; want all to far", tally, err)
	}
	if way.Protocol == topology.TCP {
		goesOn(t, "mh", []held{session})
	}
	service.SetEndpoints(t, s.both()...)
	s.Settle(t)
}

func (s *scene) spreadsEvenly(t *testing.T, target probe.Target) {
	t.Helper()
	tally, err := probe.AskN(t.Context(), s.client.Netns, target, 20)
	if err != nil || tally.Backends["web"] != 10 || tally.Backends["far"] != 10 {
		t.Errorf("rr: %v, %v; want web=10 far=10", tally, err)
	}
}

// sticks asks often from one source.
func (s *scene) sticks(t *testing.T, target probe.Target) {
	t.Helper()
	tally, err := probe.AskN(t.Context(), s.client.Netns, target, 6)
	if err != nil || len(tally.Backends) != 1 {
		t.Errorf("%v, %v; want one backend", tally, err)
	}
}

// prefersIdle gives one endpoint connections before the other appears.
func (s *scene) prefersIdle(t *testing.T, way cluster.Way) {
	t.Helper()
	service := s.AddService(t, "idle-"+strings.ToLower(strings.ReplaceAll(way.String(), "/", "-")))
	service.SetEndpoints(t, s.Endpoint(s.web))
	s.Settle(t)
	const held = 6
	for range held {
		session, err := probe.Open(t.Context(), s.client.Netns, service.Target(way))
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		if _, err := session.Ask(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	service.SetEndpoints(t, s.both()...)
	s.AwaitIPVS(t, table(service, cluster.Ways(cluster.ClusterIP), "lc", s.web, s.far), ipsOf(service)...)
	tally, err := probe.AskN(t.Context(), s.client.Netns, service.Target(way), held-1)
	if err != nil || tally.Backends["far"] != held-1 {
		t.Errorf("lc with %d connections to web: %v, %v; want all to far", held, tally, err)
	}
}
