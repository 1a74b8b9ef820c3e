package behaviour

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// held is one session with each endpoint, kept open.
type held struct{ web, far *probe.Session }

// mostSessions are more than it takes to reach both of two endpoints, even where a hash of the client's port chooses: of a
// hundred runs, ten sessions would miss one in some.
const mostSessions = 64

// hold opens sessions until one is with each endpoint. Others are reset, so that the kernel forgets them soon.
func (s *scene) hold(t *testing.T, target probe.Target) held {
	t.Helper()
	var h held
	for range mostSessions {
		session, err := probe.Open(t.Context(), s.client.Netns, target)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		t.Cleanup(func() { _ = session.Abort() }) // it may have been reset by then
		switch name := says(t, session); {
		case name == "web" && h.web == nil:
			h.web = session
		case name == "far" && h.far == nil:
			h.far = session
		default:
			if err := session.Abort(); err != nil {
				t.Fatal(err)
			}
		}
		if h.web != nil && h.far != nil {
			return h
		}
	}
	t.Fatalf("%s: not every endpoint was chosen in %d sessions", target, mostSessions)
	return h
}

// says asks on a session and returns who answered.
func says(t *testing.T, session *probe.Session) string {
	t.Helper()
	answer, err := session.Ask(t.Context())
	if err != nil {
		t.Fatalf("the session from %s: %v", session.LocalAddr(), err)
	}
	return answer.Backend
}

// goesOn checks that sessions still are with the endpoints they began with.
func goesOn(t *testing.T, when string, sessions []held) {
	t.Helper()
	for _, h := range sessions {
		if web, far := says(t, h.web), says(t, h.far); web != "web" || far != "far" {
			t.Errorf("%s: the session with web is with %s, that with far with %s", when, web, far)
		}
	}
}

// onlyFar checks that new connections go to far, without leaving any behind.
func (s *scene) onlyFar(t *testing.T, when string, service *cluster.Service, ways []cluster.Way) {
	t.Helper()
	for _, way := range ways {
		if tally, err := probe.AskN(t.Context(), s.client.Netns, service.Target(way), 4); err != nil || tally.Backends["far"] != 4 {
			t.Errorf("%s, %s: new connections: %v, %v; want far=4", when, way, tally, err)
		}
	}
}

// drained is a table in which web has weight 0.
func (s *scene) drained(service *cluster.Service, ways []cluster.Way) string {
	text := table(service, ways, "rr", s.web, s.far)
	for _, family := range topology.Families() {
		server := "-r " + endpointOf(s.web, family) + " -m -w "
		text = strings.ReplaceAll(text, server+"1", server+"0")
	}
	return text
}

// A terminating endpoint keeps its TCP connections and gets no new ones, across a restart of the daemon; wanted again,
// it is as before; and it goes when its connections have, or at once when it vanishes. UDP flows and SCTP associations move on at once.
func TestB31_P08_P11_P12_Draining(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	service := s.AddService(t, "draining")
	service.SetEndpoints(t, s.both()...)
	all := cluster.Ways(cluster.ClusterIP)
	tcp, rest := cluster.Of(all, topology.TCP), cluster.Of(all, topology.UDP, topology.SCTP)
	s.awaitTable(t, service, all, "rr", s.web, s.far)
	var sessions []held
	for _, way := range tcp {
		sessions = append(sessions, s.hold(t, service.Target(way)))
	}
	flows := s.flows(t, service, cluster.Of(all, topology.UDP))

	service.SetEndpoints(t, s.Endpoint(s.web).Terminating(), s.Endpoint(s.far))
	draining := s.drained(service, tcp) + table(service, rest, "rr", s.far)
	s.AwaitIPVS(t, draining, ipsOf(service)...)
	s.Settle(t) // conntrack's entries go after the real servers
	goesOn(t, "while web terminates", sessions)
	s.onlyFar(t, "while web terminates", service, all)
	for _, h := range flows {
		if name := says(t, h.web); name != "far" {
			t.Errorf("P09: the UDP flow with web is with %s, want far", name)
		}
	}

	s.daemon.Restart(t)
	s.Settle(t)
	if err := differs(cluster.TableOf(draining), s.IPVS(t, ipsOf(service)...)); err != nil {
		t.Errorf("P08: after a restart: %v", err)
	}
	goesOn(t, "after a restart", sessions)
	s.onlyFar(t, "after a restart", service, all)

	service.SetEndpoints(t, s.both()...)
	s.awaitTable(t, service, all, "rr", s.web, s.far)
	goesOn(t, "P11: wanted again", sessions)

	service.SetEndpoints(t, s.Endpoint(s.web).Terminating(), s.Endpoint(s.far))
	s.AwaitIPVS(t, draining, ipsOf(service)...)
	if err := sessions[0].web.Abort(); err != nil {
		t.Fatal(err)
	}
	s.AwaitIPVS(t, s.drained(service, tcp[1:])+table(service, append(rest, tcp[0]), "rr", s.far), ipsOf(service)...)
	goesOn(t, "the other family", sessions[1:])

	service.SetEndpoints(t, s.Endpoint(s.far))
	s.AwaitIPVS(t, table(service, all, "rr", s.far), ipsOf(service)...)
	if err := lastWord(t, sessions[1].web); err == nil {
		t.Error("P12: the endpoint is gone, and its session is still answered")
	}
}

// lastWord asks on a session that is to be at its end, and waits no longer than an answer may take.
func lastWord(t *testing.T, session *probe.Session) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lost)
	defer cancel()
	_, err := session.Ask(ctx)
	return err
}

// flows opens UDP flows with both endpoints.
func (s *scene) flows(t *testing.T, service *cluster.Service, ways []cluster.Way) []held {
	t.Helper()
	var flows []held
	for _, way := range ways {
		flows = append(flows, s.hold(t, service.Target(way)))
	}
	return flows
}

// An endpoint that no slice lists any more, though it was ready, keeps its connections until --drain-timeout.
func TestP08_DrainDeadline(t *testing.T) {
	t.Parallel()
	s := newScene(t, "--drain-timeout=30s") // time for the test to look at what drains
	service := s.AddService(t, "deadline")
	service.SetEndpoints(t, s.both()...)
	all := cluster.Ways(cluster.ClusterIP)
	tcp, rest := cluster.Of(all, topology.TCP), cluster.Of(all, topology.UDP, topology.SCTP)
	s.awaitTable(t, service, all, "rr", s.web, s.far)
	var sessions []held
	for _, way := range tcp {
		sessions = append(sessions, s.hold(t, service.Target(way)))
	}
	service.SetEndpoints(t, s.Endpoint(s.far))
	s.AwaitIPVS(t, s.drained(service, tcp)+table(service, rest, "rr", s.far), ipsOf(service)...)
	goesOn(t, "until the deadline", sessions)
	s.AwaitIPVS(t, table(service, all, "rr", s.far), ipsOf(service)...)
	for i, h := range sessions {
		if err := lastWord(t, h.web); !errors.Is(err, probe.ErrReset) && !errors.Is(err, probe.ErrTimeout) && !errors.Is(err, probe.ErrRefused) {
			t.Error(fmt.Errorf("%s: after the deadline the session ends with %w", tcp[i], err))
		}
		if name := says(t, h.far); name != "far" {
			t.Errorf("%s: the session with far is with %s", tcp[i], name)
		}
	}
}
