package behaviour

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// affinity makes a Service stick to clients for some seconds, 0 for not at all.
func affinity(seconds int32) func(*corev1.Service) {
	return func(c *corev1.Service) {
		c.Spec.SessionAffinity, c.Spec.SessionAffinityConfig = corev1.ServiceAffinityNone, nil
		if seconds > 0 {
			c.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			c.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		}
	}
}

// Affinity holds for every kind of address, and can be switched off and on. rr would go to the other endpoint each time.
// A client whose endpoint terminates goes to another one, and sticks to that (P13).
func TestB21_AffinityHoldsAndCanBeSwitched(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	service := s.AddService(t, "sticky", affinity(10800))
	service.Expose(t)
	service.SetEndpoints(t, s.both()...)
	ways := cluster.Ways(cluster.Kinds()...)
	for _, step := range []struct {
		seconds   int32
		scheduler string
		backends  int
	}{{10800, "rr -p 10800", 1}, {0, "rr", 2}, {60, "rr -p 60", 1}} {
		service.Update(t, affinity(step.seconds))
		s.awaitTable(t, service, ways, step.scheduler, s.web, s.far)
		for _, way := range ways {
			for _, from := range s.askers(way.Kind) {
				tally, err := probe.AskN(t.Context(), from.from, service.Target(way), 2)
				if err != nil || len(tally.Backends) != step.backends {
					t.Errorf("affinity of %d s, %s from the %s: %v, %v; want %d backends", step.seconds, way, from.name, tally, err, step.backends)
				}
			}
		}
	}
	// A client may be with one or the other: of the two steps, one moves it.
	for gone, left := range map[*topology.Pod]*topology.Pod{s.web: s.far, s.far: s.web} {
		service.SetEndpoints(t, s.Endpoint(gone).Terminating(), s.Endpoint(left))
		s.Settle(t)
		servedBy(t, gone.Name+" terminates", service, s.some(), left.Name)
	}
}

// Affinity outlives the connections that it sent one way, and ends with its timeout once they are gone. UDP is
// asked, whose connections the kernel can be told to forget soon; those of TCP, which it forgets two minutes after their end,
// hold the affinity.
func TestB21_AffinityExpires(t *testing.T) {
	t.Parallel()
	const seconds = 20
	s := newScene(t, "--ipvs-udp-timeout=1s")
	service := s.AddService(t, "sticky", affinity(seconds))
	service.Expose(t)
	service.SetEndpoints(t, s.both()...)
	ways := cluster.Of(cluster.Ways(cluster.Kinds()...), topology.UDP)
	s.awaitTable(t, service, ways, fmt.Sprintf("rr -p %d", seconds), s.web, s.far)

	first := s.outlivesConnections(t, service, ways, seconds*time.Second)
	cluster.AwaitFor(t, untilForgotten, "the end of the affinity", func() error { return s.noConnections(t, service, ways, true) })
	other := s.backends(t, service, ways)
	for i, way := range ways {
		if other[i] == first[i] {
			t.Errorf("%s still goes to %s after its affinity expired", way, first[i])
		}
	}
	s.outlives(t, service, seconds)
}

// untilForgotten is how long the kernel may keep what affinity goes by: with connections at the end of its timeout it looks again
// after a minute.
const untilForgotten = 5 * time.Minute

// outlivesConnections checks that affinity does not end with the connections that it sent one way, and returns which. A machine
// that stood still for longer than the timeout has shown nothing: then it begins anew.
func (s *scene) outlivesConnections(t *testing.T, service *cluster.Service, ways []cluster.Way, timeout time.Duration) []string {
	t.Helper()
	const tries = 5
	for range tries {
		begun := time.Now()
		first := s.backends(t, service, ways)
		cluster.Await(t, "the end of the connections", func() error { return s.noConnections(t, service, ways, false) })
		again := s.backends(t, service, ways)
		if slices.Equal(first, again) {
			return first
		}
		if took := time.Since(begun); took < timeout {
			t.Fatalf("after their connections ended, %s went to %s, and to %s before: affinity ended in less than %v", ways, again, first, took)
		}
		cluster.AwaitFor(t, untilForgotten, "the end of the affinity", func() error { return s.noConnections(t, service, ways, true) })
	}
	t.Fatalf("%d times it took longer than %v to ask twice", tries, timeout)
	return nil
}

// outlives checks that affinity does not end before a closed connection's TIME_WAIT, which is longer than its timeout.
func (s *scene) outlives(t *testing.T, service *cluster.Service, seconds int) {
	t.Helper()
	tcp := cluster.Of(cluster.Ways(cluster.ClusterIP), topology.TCP)
	s.awaitTable(t, service, tcp, fmt.Sprintf("rr -p %d", seconds), s.web, s.far)
	first := s.backends(t, service, tcp)
	closed := time.Now()
	cluster.AwaitFor(t, time.Duration(seconds)*10*time.Second, "more than the timeout", func() error {
		for _, way := range tcp {
			if s.noConnections(t, service, []cluster.Way{way}, false) == nil {
				t.Fatalf("%s: TIME_WAIT ended %v after the connection, before it could show anything", way, time.Since(closed))
			}
		}
		if passed := time.Since(closed); passed < time.Duration(3*seconds)*time.Second {
			return fmt.Errorf("only %v have passed", passed)
		}
		return nil
	})
	if again := s.backends(t, service, tcp); !slices.Equal(first, again) {
		t.Errorf("%s went to %s, and to %s when TIME_WAIT had outlived the timeout", tcp, first, again)
	}
}

// backends asks once each way, from outside where possible.
func (s *scene) backends(t *testing.T, service *cluster.Service, ways []cluster.Way) []string {
	t.Helper()
	var names []string
	for _, way := range ways {
		askers := s.askers(way.Kind)
		names = append(names, ask(t, askers[len(askers)-1].from, service.Target(way)).Backend)
	}
	return names
}

// noConnections reports whether the kernel's list still has connections through the Service or, if templates is set,
// their templates: those have the client's port 0.
func (s *scene) noConnections(t *testing.T, service *cluster.Service, ways []cluster.Way, templates bool) error {
	t.Helper()
	for line := range strings.Lines(cluster.Run(t, s.Node.Netns, "ipvsadm", "-Lnc")) {
		fields := strings.Fields(line) // protocol, expire, state, source, virtual, destination
		if len(fields) != 6 {
			continue
		}
		virtual, err := netip.ParseAddrPort(fields[4])
		through := func(way cluster.Way) bool { return service.Target(way).AddrPort == virtual }
		if err != nil || !slices.ContainsFunc(ways, through) {
			continue
		}
		if templates || !strings.HasSuffix(fields[3], ":0") {
			return fmt.Errorf("the kernel still has %s", line)
		}
	}
	return nil
}

// awaitTable waits until the table has exactly these virtual and real servers at the Service's own addresses, and
// these ones at its NodePorts.
func (s *scene) awaitTable(t *testing.T, service *cluster.Service, ways []cluster.Way, scheduler string, pods ...*topology.Pod) {
	t.Helper()
	want := table(service, ways, scheduler, pods...)
	var targets []string
	for _, way := range ways {
		targets = append(targets, fmt.Sprintf(" %s %s ", flagOf(way.Protocol), service.Target(way).AddrPort))
	}
	cluster.Await(t, "ipvsadm -Sn", func() error {
		var lines []string
		for line := range strings.Lines(s.IPVS(t)) {
			if slices.ContainsFunc(targets, func(target string) bool { return strings.Contains(line, target) }) {
				lines = append(lines, line)
			}
		}
		return differs(cluster.TableOf(want), cluster.TableOf(strings.Join(lines, "")))
	})
}
