package behaviour

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// untilBack is how long the daemon may take to find that the API server is back: it tries ever more seldom.
const untilBack = 5 * time.Minute

// The API server is out of reach, and everything stays as it was: clients are served, the daemon is healthy and repairs,
// and a daemon that starts meanwhile removes nothing. What changed meanwhile arrives when the server is back.
func TestB35_APIServerAway(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	service, goes := s.AddService(t, "steady"), s.AddService(t, "goes")
	service.Expose(t)
	service.SetEndpoints(t, s.Endpoint(s.web))
	goes.SetEndpoints(t, s.Endpoint(s.web))
	inside := cluster.Ways(cluster.ClusterIP)
	s.awaitTable(t, service, cluster.Ways(cluster.Kinds()...), "rr", s.web)
	s.await(t, goes, "web", inside...)
	fresh, lasting, _ := s.loads(t, service)

	s.Settle(t)
	before := s.programmed(t, service, goes)
	s.API.Stop()
	comes := s.AddService(t, "comes")
	comes.SetEndpoints(t, s.Endpoint(s.far))
	service.SetEndpoints(t, s.both()...)
	goes.Delete(t)
	cluster.Run(t, s.Node.Netns, "ip", "addr", "del", alone(ipsOf(goes)[0]).String(), "dev", "kube-ipvs0")
	s.goesOn(t, before, []*cluster.Service{service, goes}, fresh, lasting)
	s.isBack(t, comes, "far")
	s.await(t, comes, "far", inside...)
	s.awaitTable(t, service, cluster.Ways(cluster.Kinds()...), "rr", s.web, s.far)
	for _, addr := range ipsOf(goes) {
		cluster.Await(t, "the end of what was deleted", func() error {
			if table := s.IPVS(t, addr); table != "" && !s.GivenAway(t, addr, goes) {
				return fmt.Errorf("the table has\n%s", table)
			}
			return nil
		})
	}

	s.Settle(t)
	before = s.programmed(t, service, comes)
	s.API.Stop()
	s.daemon.Kill(t)
	comes.SetEndpoints(t, s.Endpoint(s.web))
	s.daemon.Start(t)
	s.goesOn(t, before, []*cluster.Service{service, comes}, fresh, lasting)
	s.isBack(t, comes, "web")

	for _, loads := range []map[string]*probe.Load{fresh, lasting} {
		for name, load := range loads {
			if tally := load.Stop(); tally.Err() != nil {
				t.Errorf("%s: %v, %v", name, tally, tally.Err())
			}
		}
	}
}

// goesOn checks that the loads get further answers while the kernel comes to what it had for the Services before and stays
// so, and the daemon is healthy.
func (s *scene) goesOn(t *testing.T, before string, services []*cluster.Service, loads ...map[string]*probe.Load) {
	t.Helper()
	cluster.Await(t, "the kernel as before", func() error { return differs(before, s.programmed(t, services...)) })
	awaitMore(t, loads...)
	if err := differs(before, s.programmed(t, services...)); err != nil {
		t.Errorf("without the API server the kernel's state changed: %v", err)
	}
	for _, path := range []string{"/healthz", "/livez"} {
		if _, err := s.daemon.Get("10256", path); err != nil {
			t.Errorf("without the API server: %v", err)
		}
	}
}

// awaitMore waits until each load has got some more answers.
func awaitMore(t *testing.T, loads ...map[string]*probe.Load) {
	t.Helper()
	starts := map[*probe.Load]int{}
	for _, of := range loads {
		for _, load := range of {
			starts[load] = load.Tally().Answered
		}
	}
	for _, of := range loads {
		for name, load := range of {
			cluster.Await(t, "further answers to "+name, func() error {
				if tally := load.Tally(); tally.Answered < starts[load]+fewest {
					return fmt.Errorf("%v, %d of them before: %w", tally, starts[load], tally.Err())
				}
				return nil
			})
		}
	}
}

// isBack lets the daemon reach the API server again, and waits until a change that was made meanwhile is served.
func (s *scene) isBack(t *testing.T, service *cluster.Service, name string) {
	t.Helper()
	if err := s.API.Start(); err != nil {
		t.Fatal(err)
	}
	target := service.Target(cluster.Way{Kind: cluster.ClusterIP, Protocol: topology.TCP, Family: topology.IPv4})
	cluster.AwaitFor(t, untilBack, "what changed while the API server was away", func() error {
		// Not from where lasting sessions come.
		answer, err := probe.Ask(t.Context(), s.Node.Netns, target)
		if err == nil && answer.Backend != name {
			return wrongServer(answer, name)
		}
		return err
	})
}

// programmed is what the kernel has for some Services, in sorted lines. All others may be another test's: the API server is
// everybody's, and the daemon serves all that it knew of when it was cut off.
func (s *scene) programmed(t *testing.T, services ...*cluster.Service) string {
	t.Helper()
	var about []string
	for _, service := range services {
		for _, way := range cluster.Ways(virtualKinds()...) {
			about = append(about, regexp.QuoteMeta(service.Address(way.Kind, way.Family).String()))
		}
		for _, port := range service.Spec.Ports {
			if port.NodePort != 0 {
				about = append(about, fmt.Sprint(port.NodePort))
			}
		}
	}
	alike := regexp.MustCompile(`(^|[ \[,:])(` + strings.Join(about, "|") + `)([]/,: \n])`)
	text := s.IPVS(t) + cluster.Run(t, s.Node.Netns, "ip", "-o", "addr", "show", "dev", "kube-ipvs0") + cluster.Run(t, s.Node.Netns, "ipset", "save")
	var lines []string
	for line := range strings.Lines(text) {
		if alike.MatchString(line) {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		t.Fatalf("nothing of what the kernel has is about %s:\n%s", about, text)
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
