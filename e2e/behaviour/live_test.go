package behaviour

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// The time between two questions of TCP, which must not miss a short gap, and of the other protocols.
const (
	quickPace = 300 * time.Millisecond
	slowPace  = 600 * time.Millisecond
)

// replica is one pod of a workload that is being replaced.
type replica struct {
	endpoint cluster.Endpoint
	name     string
	servers  []*backend.Server
}

// addReplica adds a pod that can be shut down.
func (s *scene) addReplica(t *testing.T, on *topology.Host, name string) *replica {
	t.Helper()
	s.building.Lock()
	pod := on.AddPod(t, name)
	s.building.Unlock()
	return &replica{s.Endpoint(pod), name, backend.StartAll(t, pod.Netns, cluster.TargetPort, topology.Protocols()...)}
}

// shutDown is what a pod does at the end of its grace period.
func (r *replica) shutDown() {
	for _, server := range r.servers {
		server.Close()
	}
}

// rollout is a workload behind several Services, under load.
type rollout struct {
	*scene
	services []*cluster.Service
	loads    []rolloutLoad
}

type rolloutLoad struct {
	question
	*probe.Load
}

// A rolling update under load loses no connection, whatever the external traffic policy: the new endpoint comes before
// the old one goes, or the old one serves while it terminates. A datagram or an association that is under way when its
// endpoint stops being one may be lost: these move on at once.
func TestB30_RollingUpdateUnderLoad(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	near, far := s.addReplica(t, s.Node, "near-1"), s.addReplica(t, s.Node2, "far-1")
	r := &rollout{scene: s}
	for _, change := range []func(*corev1.Service){func(*corev1.Service) {}, externalLocal} {
		service := s.AddService(t, "rolling")
		service.Expose(t)
		service.Update(t, change)
		r.services = append(r.services, service)
	}
	r.set(t, near.endpoint, far.endpoint)
	r.start(t)

	newNear := s.addReplica(t, s.Node, "near-2")
	r.set(t, near.endpoint, newNear.endpoint, far.endpoint)
	r.set(t, near.endpoint.Terminating(), newNear.endpoint, far.endpoint)
	near.shutDown()
	r.set(t, newNear.endpoint, far.endpoint)
	near = newNear

	newFar := s.addReplica(t, s.Node2, "far-2")
	r.set(t, near.endpoint, far.endpoint, newFar.endpoint)
	r.set(t, near.endpoint, far.endpoint.Terminating(), newFar.endpoint)
	far.shutDown()
	r.set(t, near.endpoint, newFar.endpoint)

	// Without a surge there is a moment in which nothing is ready: on this node first, then anywhere.
	newNear = s.addReplica(t, s.Node, "near-3")
	r.set(t, near.endpoint.Terminating(), newFar.endpoint)
	r.set(t, near.endpoint.Terminating(), newFar.endpoint.Terminating())
	r.set(t, near.endpoint.Terminating(), newNear.endpoint, newFar.endpoint.Terminating())
	near.shutDown()
	newFar.shutDown()
	r.set(t, newNear.endpoint)
	r.check(t, "near-3")
}

// set gives both Services their endpoints and waits until all loads have got answers since.
func (r *rollout) set(t *testing.T, endpoints ...cluster.Endpoint) {
	t.Helper()
	for _, service := range r.services {
		service.SetEndpoints(t, endpoints...)
	}
	r.Settle(t)
	r.progress(t)
}

// progress waits for two more answers to each load: the question to the second was asked after the call.
func (r *rollout) progress(t *testing.T) {
	t.Helper()
	before := make([]int, len(r.loads))
	for i, load := range r.loads {
		before[i] = load.Tally().Answered
	}
	for i, load := range r.loads {
		cluster.Await(t, "answers to "+load.String(), func() error {
			if tally := load.Tally(); tally.Answered < before[i]+2 {
				return fmt.Errorf("%v: %w", tally, tally.Err())
			}
			return nil
		})
	}
}

// portsOfALoad is more than a load asks questions, and leaves the ports that the kernel gives out to others.
const portsOfALoad = 1500

// mayBeLost is how long a load waits for an answer that may never come.
const mayBeLost = 10 * time.Second

// start starts asking from outside.
func (r *rollout) start(t *testing.T) {
	t.Helper()
	for i, service := range r.services {
		for _, q := range r.someOutside() {
			target, pace := service.Target(q.way), quickPace
			if q.way.Protocol != topology.TCP {
				pace, target.Timeout = slowPace, mayBeLost
			}
			q.from.name = fmt.Sprintf("outside to Service %d", i)
			// Ports of its own for each way: the kernel mixes up two ways from one port (P31).
			target.LocalPort = uint16(1024 + len(r.loads)*portsOfALoad)
			r.loads = append(r.loads, rolloutLoad{q, probe.StartLoad(t.Context(), q.from.from, target, pace)})
		}
	}
	r.progress(t)
}

// check ends the loads and looks at what came of them. The last replica has to have answered.
func (r *rollout) check(t *testing.T, last string) {
	t.Helper()
	for _, load := range r.loads {
		tally := load.Stop()
		t.Logf("%s: %v", load, tally)
		mayFail := 0
		if load.way.Protocol != topology.TCP {
			mayFail = 4 // one for each time that an endpoint stopped serving
		}
		if tally.Failed > mayFail || tally.Backends[last] == 0 {
			t.Errorf("%s: %v, want at most %d failed and answers of %s: %v", load, tally, mayFail, last, tally.Err())
		}
	}
}

// What a Service says is changed while it is served, one thing after the other, and back again.
func TestB33_LiveChanges(t *testing.T) {
	t.Parallel()
	const newTarget = 9033
	s := sharedScene(t)
	for _, pod := range []*topology.Pod{s.web, s.far} {
		backend.StartAll(t, pod.Netns, newTarget, topology.Protocols()...)
	}
	service := s.AddService(t, "changing-live")
	service.Expose(t)
	service.Update(t, cluster.Number(30034))
	service.SetEndpoints(t, s.both()...)
	s.awaitTable(t, service, cluster.Ways(cluster.Kinds()...), "rr", s.web, s.far)
	s.changeNodePorts(t, service)

	own := s.withOwnClient(t)
	var sessions []held
	for _, way := range cluster.Of(cluster.Ways(cluster.ClusterIP), topology.TCP) {
		sessions = append(sessions, own.hold(t, service.Target(way)))
	}
	for _, step := range []struct {
		port  int32
		names []string
	}{{newTarget, []string{"web:9033", "far:9033"}}, {cluster.TargetPort, []string{"web", "far"}}} {
		service.Update(t, func(c *corev1.Service) {
			for i := range c.Spec.Ports {
				c.Spec.Ports[i].TargetPort.IntVal = step.port
			}
		})
		service.SetEndpoints(t, s.both()...)
		s.Settle(t)
		servedBy(t, "targetPort "+fmt.Sprint(step.port), service, s.some(), step.names...)
		goesOn(t, "targetPort "+fmt.Sprint(step.port), sessions)
	}
	s.changePolicies(t, service)
}

// changeNodePorts changes the NodePorts.
func (s *scene) changeNodePorts(t *testing.T, service *cluster.Service) {
	t.Helper()
	const newPort = 30033
	nodePorts := s.questions(cluster.Ways(cluster.NodePort))
	old := map[question]probe.Target{}
	for _, q := range nodePorts {
		old[q] = service.Target(q.way)
	}
	service.Update(t, cluster.Number(newPort))
	s.Settle(t)
	servedBy(t, "nodePort changed", service, nodePorts, "web", "far")
	for _, q := range nodePorts {
		if service.Target(q.way).AddrPort.Port() != newPort {
			t.Fatalf("%s still is %s", q, service.Target(q.way))
		}
		refused(t, q.from.from, old[q])
	}
}

// changePolicies switches affinity and the traffic policies on and off, together and apart.
func (s *scene) changePolicies(t *testing.T, service *cluster.Service) {
	t.Helper()
	clusterIP := s.questions(cluster.Ways(cluster.ClusterIP))
	outside := s.someOutside()
	both, web := []string{"web", "far"}, []string{"web"}
	for _, step := range []struct {
		when             string
		change           func(*corev1.Service)
		inside, external []string
		kept             bool // the client's address, from outside
	}{
		{"internalTrafficPolicy Local", internalLocal, web, both, false},
		{"both policies Local", externalLocal, web, web, true},
		{"externalTrafficPolicy Local", func(c *corev1.Service) { c.Spec.InternalTrafficPolicy = nil }, both, web, true},
		{"both policies Cluster", func(c *corev1.Service) {
			c.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
		}, both, both, false},
	} {
		service.Update(t, step.change)
		s.Settle(t)
		servedBy(t, step.when, service, clusterIP, step.inside...)
		servedBy(t, step.when, service, outside, step.external...)
		for _, q := range outside {
			want := s.nodeAddresses(q.way.Family)
			if step.kept {
				want = []netip.Addr{s.Client.Address(q.way.Family)}
			}
			sees(t, ask(t, q.from.from, service.Target(q.way)), want...)
		}
	}
	service.Update(t, func(c *corev1.Service) {
		affinity(10800)(c)
		internalLocal(c)
	})
	s.Settle(t)
	servedBy(t, "affinity and internalTrafficPolicy Local", service, clusterIP, web...)
	for _, q := range outside {
		if tally, err := probe.AskN(t.Context(), q.from.from, service.Target(q.way), 4); err != nil || len(tally.Backends) != 1 {
			t.Errorf("affinity, %s: %v, %v; want one backend", q, tally, err)
		}
	}
	service.Update(t, func(c *corev1.Service) {
		affinity(0)(c)
		c.Spec.InternalTrafficPolicy = nil
	})
	s.Settle(t)
	servedBy(t, "as at first", service, s.some(), both...)
}
