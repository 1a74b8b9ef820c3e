package behaviour

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// scene is a cluster with the pods that most tests need and the daemon on node-1.
type scene struct {
	*cluster.Cluster
	// building is held while hosts and addresses are added.
	building sync.Mutex
	daemon   *cluster.Daemon
	// client asks and serves nothing; web serves on the same node, far on node-2.
	client, web, far *topology.Pod
}

// newScene is a scene of the test's own, for a daemon with flags or one that is restarted.
func newScene(t *testing.T, flags ...string) *scene {
	t.Helper()
	return newSceneOf(t, flags...)
}

func newSceneOf(t testing.TB, flags ...string) *scene {
	t.Helper()
	c := cluster.New(t, topology.Options{})
	return &scene{
		Cluster: c,
		daemon:  c.StartDaemon(t, flags...),
		client:  c.Node.AddPod(t, "client-pod"),
		web:     c.AddServer(t, c.Node, "web"),
		far:     c.AddServer(t, c.Node2, "far"),
	}
}

// both are the scene's endpoints, ready.
func (s *scene) both() []cluster.Endpoint {
	return []cluster.Endpoint{s.Endpoint(s.web), s.Endpoint(s.far)}
}

// asker is a place from which Services are asked.
type asker struct {
	name string
	from *topology.Netns
}

// askers are a pod, the node itself and a client outside. Only pods and nodes have routes to ClusterIPs.
func (s *scene) askers(kind cluster.Kind) []asker {
	all := []asker{{"pod", s.client.Netns}, {"node", s.Node.Netns}}
	if kind != cluster.ClusterIP {
		all = append(all, asker{"outside", s.Client.Netns})
	}
	return all
}

// everyWay runs a subtest for each way and each place to ask from.
func (s *scene) everyWay(t *testing.T, ways []cluster.Way, test func(t *testing.T, way cluster.Way, from asker)) {
	t.Helper()
	for _, way := range ways {
		for _, from := range s.askers(way.Kind) {
			t.Run(fmt.Sprintf("%s/from-%s", way, from.name), func(t *testing.T) { test(t, way, from) })
		}
	}
}

// await waits until every way of a Service is served by a backend of the name.
func (s *scene) await(t *testing.T, service *cluster.Service, name string, ways ...cluster.Way) {
	t.Helper()
	for _, way := range ways {
		cluster.AwaitAnswer(t, s.askers(way.Kind)[0].from, service.Target(way), name)
	}
}

// ask asks once and fails the test without an answer.
func ask(t *testing.T, from *topology.Netns, target probe.Target) probe.Answer {
	t.Helper()
	answer, err := probe.Ask(t.Context(), from, target)
	if err != nil {
		t.Fatalf("%s from %s: %v", target, from.Name, err)
	}
	return answer
}

// sees checks which client address the backend saw.
func sees(t *testing.T, answer probe.Answer, want ...netip.Addr) {
	t.Helper()
	if !slices.Contains(want, answer.Client.Addr()) {
		t.Errorf("%s at %s saw client %s, want one of %s", answer.Backend, answer.Server, answer.Client, want)
	}
}

// nodeAddresses are those that node-1 may masquerade with: towards the other hosts, and towards its pods.
func (s *scene) nodeAddresses(family topology.Family) []netip.Addr {
	gateway := s.Node.PodSubnet(family).Addr().Next()
	return []netip.Addr{s.Node.Address(family), gateway}
}

// soon is how quickly a refusal has to come to count as one at once: before a client would send again.
const soon = 900 * time.Millisecond

// refused checks that a question is refused, and at once. An emulated machine that is busy may miss that now and then, so
// that one of several has to be.
func refused(t *testing.T, from *topology.Netns, target probe.Target) {
	t.Helper()
	refusedWithin(t, from, target, soon)
}

// refusedWithin checks that a question is refused within a time. SCTP on IPv4 is told that the protocol is unreachable.
func refusedWithin(t *testing.T, from *topology.Netns, target probe.Target, within time.Duration) {
	t.Helper()
	target.Timeout = within
	var err error
	for range 5 {
		var answer probe.Answer
		answer, err = probe.Ask(t.Context(), from, target)
		if err == nil {
			t.Errorf("%s from %s: %s answers", target, from.Name, answer.Backend)
			return
		}
		if !errors.Is(err, probe.ErrTimeout) {
			break
		}
	}
	told := target.Protocol == topology.SCTP && errors.Is(err, syscall.ENOPROTOOPT)
	if !told && !errors.Is(err, probe.ErrRefused) {
		t.Errorf("%s from %s: %v, want it refused within %v", target, from.Name, err, within)
	}
}

// unanswered checks that nothing answers, whether refused or not.
func unanswered(t *testing.T, from *topology.Netns, target probe.Target) {
	t.Helper()
	target.Timeout = soon
	if answer, err := probe.Ask(t.Context(), from, target); err == nil {
		t.Errorf("%s from %s: %+v, want no answer", target, from.Name, answer)
	}
}

// wrongServer says that a request went elsewhere.
func wrongServer(answer probe.Answer, want any) error {
	return fmt.Errorf("%s at %s answers, want %v", answer.Backend, answer.Server, want)
}

// answers reports whether anybody answers.
func answers(t *testing.T, from *topology.Netns, target probe.Target) error {
	t.Helper()
	_, err := probe.Ask(t.Context(), from, target)
	return err
}

// differs says how a text is not what is wanted.
func differs(want, got string) error {
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("-want +got:\n%s", diff)
	}
	return nil
}
