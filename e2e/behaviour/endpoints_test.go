package behaviour

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// question is a way to a Service and a place from which it is asked.
type question struct {
	way  cluster.Way
	from asker
}

func (q question) String() string { return fmt.Sprintf("%s from the %s", q.way, q.from.name) }

// questions are the ways from the askers of the names, or from all of them.
func (s *scene) questions(ways []cluster.Way, names ...string) []question {
	var all []question
	for _, way := range ways {
		for _, from := range s.askers(way.Kind) {
			if len(names) == 0 || slices.Contains(names, from.name) {
				all = append(all, question{way, from})
			}
		}
	}
	return all
}

// some are enough of the questions to a Service that has every kind of address: its ClusterIP and NodePorts in every
// protocol, and the other addresses, which share the NodePorts' choice of endpoints, in one.
func (s *scene) some() []question {
	return slices.Concat(s.questions(cluster.Ways(cluster.ClusterIP)), s.someOutside())
}

// someOutside are those of them from outside.
func (s *scene) someOutside() []question {
	others := cluster.Of(cluster.Ways(cluster.ExternalIP, cluster.LoadBalancerIP), topology.TCP)
	return s.questions(append(cluster.Ways(cluster.NodePort), others...), "outside")
}

// servedBy checks that the named endpoints and no others serve, in turn, whichever question. An endpoint that answers at
// another port than usual is named with it: web:9010.
func servedBy(t *testing.T, when string, service *cluster.Service, questions []question, names ...string) {
	t.Helper()
	for _, q := range questions {
		rounds := 1 // rr is exact
		if len(names) == 1 || q.way.Protocol == topology.UDP {
			rounds = 2
		}
		got := map[string]int{}
		for range rounds * len(names) {
			answer, err := probe.Ask(t.Context(), q.from.from, service.Target(q.way))
			if err != nil {
				t.Errorf("%s, %s: %v", when, q, err)
				break
			}
			got[endpointName(answer)]++
		}
		if want := slices.Sorted(slices.Values(names)); !slices.Equal(slices.Sorted(maps.Keys(got)), want) || !evenly(q, got, rounds) {
			t.Errorf("%s, %s: answered by %v, want %d of each of %v", when, q, got, rounds, want)
		}
	}
}

// evenly reports whether each endpoint got its share. A UDP socket whose port another one had before takes over its flow,
// which the kernel remembers for minutes.
func evenly(q question, got map[string]int, share int) bool {
	for _, n := range got {
		if n != share && q.way.Protocol != topology.UDP {
			return false
		}
	}
	return true
}

// endpointName is who answered, with the port unless it is the usual one.
func endpointName(answer probe.Answer) string {
	if answer.Server.Port() == cluster.TargetPort {
		return answer.Backend
	}
	return fmt.Sprintf("%s:%d", answer.Backend, answer.Server.Port())
}

// dropped checks that nothing at all comes back.
func dropped(t *testing.T, when string, service *cluster.Service, questions []question) {
	t.Helper()
	var asking sync.WaitGroup // they take all their time
	for _, q := range questions {
		target := service.Target(q.way)
		target.Timeout = 2 * time.Second
		asking.Go(func() {
			if answer, err := probe.Ask(t.Context(), q.from.from, target); !errors.Is(err, probe.ErrTimeout) {
				t.Errorf("%s, %s: %q, %v; want no answer of any kind", when, q, answer.Backend, err)
			}
		})
	}
	asking.Wait()
}

// refusedAll checks that every question is refused at once, where the kernel has a way to say so.
func refusedAll(t *testing.T, service *cluster.Service, questions []question) {
	t.Helper()
	for _, q := range questions {
		if q.way.Protocol == topology.SCTP && q.way.Family == topology.IPv6 {
			unanswered(t, q.from.from, service.Target(q.way))
			continue
		}
		refused(t, q.from.from, service.Target(q.way))
	}
}

// addServer adds a pod that serves until the test ends.
func (s *scene) addServer(t *testing.T, on *topology.Host, name string) *topology.Pod {
	t.Helper()
	s.building.Lock()
	defer s.building.Unlock()
	return s.AddServer(t, on, name)
}

// withOwnClient is the scene with a client pod of the test's own. Connections that are to last need one: the kernel
// confuses those of one client port through two virtual servers to one endpoint (P31), and other tests ask, too.
func (s *scene) withOwnClient(t *testing.T) *scene {
	t.Helper()
	s.building.Lock()
	defer s.building.Unlock()
	return &scene{Cluster: s.Cluster, daemon: s.daemon, client: s.Node.AddPod(t, "own-client"), web: s.web, far: s.far}
}

// A Service's endpoints may be in several slices, and one endpoint in several of them, while it moves: it is one real
// server nevertheless, gets its share, and keeps its connections. Several Services may have the same endpoints.
func TestB09_SlicesAndServicesWithTheSameEndpoints(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	own, third := s.withOwnClient(t), s.addServer(t, s.Node, "third")
	service, twin := s.AddService(t, "sliced"), s.AddService(t, "twin")
	service.Expose(t)
	ways := cluster.Ways(cluster.Kinds()...)

	service.SetPart(t, cluster.Part{Name: "a", Endpoints: []cluster.Endpoint{s.Endpoint(s.web)}})
	service.SetPart(t, cluster.Part{Name: "b", Endpoints: []cluster.Endpoint{s.Endpoint(s.far)}})
	twin.SetEndpoints(t, s.both()...)
	s.awaitTable(t, service, ways, "rr", s.web, s.far)
	servedBy(t, "two slices", service, s.some(), "web", "far")

	service.SetPart(t, cluster.Part{Name: "a", Endpoints: s.both()})
	service.SetPart(t, cluster.Part{Name: "b", Endpoints: []cluster.Endpoint{s.Endpoint(third), s.Endpoint(s.far)}})
	s.awaitTable(t, service, ways, "rr", s.web, s.far, third)
	servedBy(t, "far in both slices", service, s.questions(ways), "web", "far", "third")
	inside := s.questions(cluster.Ways(cluster.ClusterIP))
	servedBy(t, "another Service", twin, inside, "web", "far")

	var sessions []held
	for _, way := range cluster.Of(cluster.Ways(cluster.ClusterIP), topology.TCP) {
		sessions = append(sessions, own.hold(t, service.Target(way)))
	}
	for _, step := range []struct {
		when string
		a    []cluster.Endpoint
	}{
		{"far unready in one slice", []cluster.Endpoint{s.Endpoint(s.web), s.Endpoint(s.far).Unready()}},
		{"far terminating in one slice", []cluster.Endpoint{s.Endpoint(s.web), s.Endpoint(s.far).Terminating()}},
		{"far moved", []cluster.Endpoint{s.Endpoint(s.web)}},
	} {
		service.SetPart(t, cluster.Part{Name: "a", Endpoints: step.a})
		s.Settle(t)
		s.awaitTable(t, service, ways, "rr", s.web, s.far, third)
		goesOn(t, step.when, sessions)
	}
	service.DeletePart(t, "a")
	s.Settle(t)
	servedBy(t, "a slice deleted", service, s.some(), "far", "third")
	goesOn(t, "a slice deleted", sessions) // web drains: nobody said that it is gone

	// What the Services share stays with the one that is left: its endpoints still reach themselves.
	service.Delete(t)
	s.Settle(t)
	servedBy(t, "the other Service deleted", twin, inside, "web", "far")
	servedBy(t, "hairpin", twin, hairpin(s.web), "web", "far")
}

// hairpin are a pod's questions by ClusterIP.
func hairpin(pod *topology.Pod) []question {
	var all []question
	for _, way := range cluster.Ways(cluster.ClusterIP) {
		all = append(all, question{way, asker{pod.Name, pod.Netns}})
	}
	return all
}

// A named target port may have another number at each endpoint, and some may lack it.
func TestB10_NamedTargetPorts(t *testing.T) {
	t.Parallel()
	const other = 9010
	s := sharedScene(t)
	for _, pod := range []*topology.Pod{s.web, s.far} {
		backend.StartAll(t, pod.Netns, other, topology.Protocols()...)
	}
	service := s.AddService(t, "named", func(c *corev1.Service) {
		for i := range c.Spec.Ports {
			c.Spec.Ports[i].TargetPort = intstr.FromString("app")
		}
	})
	service.Expose(t)
	all := s.some()
	web, far := []cluster.Endpoint{s.Endpoint(s.web)}, []cluster.Endpoint{s.Endpoint(s.far)}
	service.SetPart(t, cluster.Part{Name: "a", TargetPort: cluster.TargetPort, Endpoints: web})
	service.SetPart(t, cluster.Part{Name: "b", TargetPort: other, Endpoints: far})
	s.Settle(t)
	servedBy(t, "two numbers", service, all, "web", "far:9010")

	service.SetPart(t, cluster.Part{Name: "a", TargetPort: other, Endpoints: web})
	service.SetPart(t, cluster.Part{Name: "b", TargetPort: cluster.TargetPort, Endpoints: far})
	s.Settle(t)
	servedBy(t, "the numbers changed", service, all, "web:9010", "far")

	service.SetPart(t, cluster.Part{Name: "b", TargetPort: cluster.TargetPort, Endpoints: far, Lacks: []topology.Protocol{topology.UDP}})
	s.Settle(t)
	for _, q := range all {
		names := []string{"web:9010", "far"}
		if q.way.Protocol == topology.UDP {
			names = names[:1]
		}
		servedBy(t, "far lacks a port", service, []question{q}, names...)
	}
}
