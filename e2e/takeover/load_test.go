package takeover

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// podCIDRs are those of all nodes' pods.
const podCIDRs = "10.244.0.0/16,fd00:10:244::/48"

const (
	// pace is the time between two questions of a load.
	pace = time.Second
	// patience is how long a question may take. What a wrong rule loses is lost for good: conntrack remembers what was decided
	// about the first packet. An emulated machine with much else to do is merely slow.
	patience = 30 * time.Second
	// fewest is how many answers of a load make it one.
	fewest = 4
	// firstPort is the first client port of loads of new connections, each of which has so many to itself, one for each
	// question: a port that is used by two ways to one endpoint at a time is a known limit of IPVS.
	firstPort, portsEach = 8000, 1200
)

// scene is a node with pods here and elsewhere, and Services that are asked.
type scene struct {
	*cluster.Cluster
	client, web, far *topology.Pod
	service          *cluster.Service
	ways             []cluster.Way
}

// newScene builds it. Nobody serves the Service yet.
func newScene(t *testing.T) *scene {
	t.Helper()
	c := cluster.New(t, topology.Options{})
	s := &scene{Cluster: c, client: c.Node.AddPod(t, "client-pod"), web: c.AddServer(t, c.Node, "web"), far: c.AddServer(t, c.Node2, "far"),
		ways: cluster.Of(cluster.Ways(cluster.ClusterIP, cluster.NodePort, cluster.LoadBalancerIP), topology.TCP, topology.UDP)}
	// As every node it has a way out, without which a mode that binds no addresses has none to ClusterIPs either.
	c.Node.RouteVia(t, netip.MustParsePrefix("0.0.0.0/0"), c.Node2)
	c.Node.RouteVia(t, netip.MustParsePrefix("::/0"), c.Node2)
	s.service = c.AddService(t, "busy", func(s *corev1.Service) { s.Spec.Ports = cluster.Ports(cluster.ServicePort, topology.TCP, topology.UDP) })
	s.service.Expose(t)
	s.service.SetEndpoints(t, s.Endpoint(s.web), s.Endpoint(s.far))
	return s
}

// asker is where a kind of address is asked from: ClusterIPs by a pod, the others by a client outside.
func (s *scene) asker(kind cluster.Kind) *topology.Netns {
	if kind == cluster.ClusterIP {
		return s.client.Netns
	}
	return s.Client.Netns
}

// serves waits until every way is served by both endpoints.
func (s *scene) serves(t *testing.T) {
	t.Helper()
	for _, way := range s.ways {
		for _, name := range []string{"web", "far"} {
			cluster.AwaitAnswer(t, s.asker(way.Kind), s.service.Target(way), name)
		}
	}
}

// loads are what clients do all the time.
type loads struct {
	fresh, lasting map[string]*probe.Load
	// flows are where the lasting ones come from, by what they are.
	flows map[string]flow
}

type flow struct {
	protocol topology.Protocol
	from     netip.AddrPort
}

// question is a way, asked from somewhere.
type question struct {
	cluster.Way
	from *topology.Netns
}

func (q question) String() string { return q.Way.String() + " from " + q.from.Name }

// questions are all ways from where they are usually asked, and ClusterIPs from the node itself, too.
func (s *scene) questions() (all []question) {
	for _, way := range s.ways {
		all = append(all, question{way, s.asker(way.Kind)})
		if way.Kind == cluster.ClusterIP {
			all = append(all, question{way, s.Node.Netns})
		}
	}
	return all
}

// start begins to ask all questions, on a connection for each, and on one that lasts.
func (s *scene) start(t *testing.T) *loads {
	t.Helper()
	l := &loads{fresh: map[string]*probe.Load{}, lasting: map[string]*probe.Load{}, flows: map[string]flow{}}
	for i, q := range s.questions() {
		target := s.service.Target(q.Way)
		target.Timeout = patience
		session, err := probe.Open(t.Context(), q.from, target)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		t.Cleanup(func() { _ = session.Close() })
		l.lasting[q.String()] = session.StartLoad(t.Context(), pace)
		l.flows[q.String()] = flow{q.Protocol, session.LocalAddr()}
		target.LocalPort = uint16(firstPort + i*portsEach)
		l.fresh[q.String()] = probe.StartLoad(t.Context(), q.from, target, pace)
	}
	l.more(t, "at the beginning")
	return l
}

// each visits all loads.
func (l *loads) each(visit func(name string, load *probe.Load)) {
	for name, load := range l.fresh {
		visit(name+", each on a connection of its own", load)
	}
	for name, load := range l.lasting {
		visit(name+", on one connection", load)
	}
}

// more waits until every load has had some more answers, and fails the test at the first question without.
func (l *loads) more(t *testing.T, when string) {
	t.Helper()
	before := map[string]int{}
	l.each(func(name string, load *probe.Load) { before[name] = load.Tally().Answered })
	l.each(func(name string, load *probe.Load) {
		cluster.AwaitFor(t, syncPatience, when+", "+name, func() error {
			tally := load.Tally()
			if tally.Err() != nil {
				t.Fatalf("%s, %s: %v, %v", when, name, tally, tally.Err())
			}
			if tally.Answered < before[name]+fewest {
				return fmt.Errorf("%d more answers", tally.Answered-before[name])
			}
			return nil
		})
	})
}

// stop ends the loads. Everything must have been answered, and each lasting one by one backend.
func (l *loads) stop(t *testing.T) {
	t.Helper()
	l.each(func(name string, load *probe.Load) {
		if tally := load.Stop(); tally.Err() != nil {
			t.Errorf("%s: %v, %v", name, tally, tally.Err())
		}
	})
	for name, load := range l.lasting {
		if tally := load.Tally(); len(tally.Backends) != 1 {
			t.Errorf("%s, on one connection: %v; want one backend", name, tally)
		}
	}
}

// tracked are the ids of conntrack's entries of the lasting flows.
func (s *scene) tracked(t *testing.T, l *loads) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for name, f := range l.flows {
		family := "ipv4"
		if f.from.Addr().Is6() {
			family = "ipv6"
		}
		listed := cluster.Run(t, s.Node.Netns, "conntrack", "-L", "-o", "id", "-f", family, "-p", strings.ToLower(string(f.protocol)),
			"--orig-src", f.from.Addr().String(), "--sport", fmt.Sprint(f.from.Port()))
		for field := range strings.FieldsSeq(listed) {
			if id, found := strings.CutPrefix(field, "id="); found {
				ids[name] = id
			}
		}
		if ids[name] == "" {
			t.Errorf("conntrack does not know the flow of %s from %s: %s", name, f.from, listed)
		}
	}
	return ids
}

// counted are the kernel's counts of connections that each virtual server of the Service and each real server has ever got.
func (s *scene) counted(t *testing.T) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, way := range s.ways {
		flag := map[topology.Protocol]string{topology.TCP: "-t", topology.UDP: "-u"}[way.Protocol]
		output := cluster.Run(t, s.Node.Netns, "ipvsadm", "-Ln", "--stats", "--exact", flag, s.service.Target(way).AddrPort.String())
		for line := range strings.Lines(output) {
			fields := strings.Fields(line)
			if len(fields) < 3 || !slices.Contains([]string{"->", "TCP", "UDP"}, fields[0]) {
				continue
			}
			if count, err := strconv.Atoi(fields[2]); err == nil {
				counts[way.String()+" "+fields[0]+" "+fields[1]] = count
			}
		}
	}
	if want := 3 * len(s.ways); len(counts) != want {
		t.Fatalf("the kernel counts connections of %d servers, want %d: %v", len(counts), want, counts)
	}
	return counts
}

// memory is what the kernel knows before something happens to which nothing of it may be lost.
type memory struct {
	tracked map[string]string
	counted map[string]int
}

func (s *scene) remember(t *testing.T, l *loads) memory {
	t.Helper()
	return memory{s.tracked(t, l), s.counted(t)}
}

// kept checks that nothing has been deleted since, not even to be added again.
func (s *scene) kept(t *testing.T, when string, l *loads, before memory) {
	t.Helper()
	if diff := cmp.Diff(before.tracked, s.tracked(t, l)); diff != "" {
		t.Errorf("%s: conntrack's ids of lasting flows, -before +after:\n%s", when, diff)
	}
	for server, count := range s.counted(t) {
		if count < before.counted[server] {
			t.Errorf("%s: %s has had %d connections, %d before", when, server, count, before.counted[server])
		}
	}
}
