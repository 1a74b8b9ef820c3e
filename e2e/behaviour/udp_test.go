package behaviour

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// udpFlow is a client's UDP socket, from which it asks again and again.
type udpFlow struct {
	question
	session *probe.Session
}

// openFlows opens a socket for each question. Nothing is sent yet.
func openFlows(t *testing.T, service *cluster.Service, questions []question) []udpFlow {
	t.Helper()
	var flows []udpFlow
	for _, q := range questions {
		session, err := probe.Open(t.Context(), q.from.from, service.Target(q.way))
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		t.Cleanup(func() { _ = session.Close() })
		flows = append(flows, udpFlow{q, session})
	}
	return flows
}

// flowsReach checks that each flow's next datagram is answered by the endpoint of the name.
func flowsReach(t *testing.T, when string, flows []udpFlow, name string) {
	t.Helper()
	for _, f := range flows {
		answer, err := f.session.Ask(t.Context())
		if err != nil {
			t.Errorf("%s, %s: %v", when, f, err)
		} else if got := endpointName(answer); got != name {
			t.Errorf("%s, %s: %s answers, want %s", when, f, got, name)
		}
	}
}

// unanswerable is how long an answer is waited for that is not to come.
const unanswerable = 5 * time.Second

// flowsFail checks that each flow's next datagram fails in a way.
func flowsFail(t *testing.T, when string, flows []udpFlow, way error) {
	t.Helper()
	var asking sync.WaitGroup // those that time out take all their time
	for _, f := range flows {
		asking.Go(func() {
			ctx := t.Context()
			if errors.Is(way, probe.ErrTimeout) {
				short, cancel := context.WithTimeout(ctx, unanswerable)
				defer cancel()
				ctx = short
			}
			if answer, err := f.session.Ask(ctx); !errors.Is(err, way) {
				t.Errorf("%s, %s: %q, %v; want it %v", when, f, answer.Backend, err, way)
			}
		})
	}
	asking.Wait()
}

// A client that goes on sending from one UDP port reaches the endpoint that serves now, whatever happened to the one that
// did: replaced, under another target port, unready, ready again. Nothing of before holds the flow back (P09).
func TestB32_P09_UDPFlows(t *testing.T) {
	t.Parallel()
	const newTarget = 9032
	s := sharedScene(t)
	backend.StartAll(t, s.far.Netns, newTarget, topology.UDP)
	service := s.AddService(t, "flows", cluster.Type(corev1.ServiceTypeNodePort))
	service.SetEndpoints(t, s.Endpoint(s.web))
	s.Settle(t) // the node has no route to an address that nothing has
	udp := cluster.Of(cluster.Ways(cluster.ClusterIP, cluster.NodePort), topology.UDP)
	flows := openFlows(t, service, s.questions(udp))
	for _, step := range []struct {
		when string
		part cluster.Part
		want string
	}{
		{"at first", cluster.Part{Endpoints: []cluster.Endpoint{s.Endpoint(s.web)}}, "web"},
		{"replaced", cluster.Part{Endpoints: []cluster.Endpoint{s.Endpoint(s.far)}}, "far"},
		{"another target port", cluster.Part{TargetPort: newTarget, Endpoints: []cluster.Endpoint{s.Endpoint(s.far)}}, fmt.Sprintf("far:%d", newTarget)},
		{"the old target port", cluster.Part{Endpoints: []cluster.Endpoint{s.Endpoint(s.far)}}, "far"},
		{"far unready", cluster.Part{Endpoints: []cluster.Endpoint{s.Endpoint(s.far).Unready(), s.Endpoint(s.web)}}, "web"},
		{"web unready", cluster.Part{Endpoints: []cluster.Endpoint{s.Endpoint(s.far).Unready(), s.Endpoint(s.web).Unready()}}, ""},
		{"far ready again", cluster.Part{Endpoints: []cluster.Endpoint{s.Endpoint(s.far), s.Endpoint(s.web).Unready()}}, "far"},
		{"web terminating", cluster.Part{Endpoints: []cluster.Endpoint{s.Endpoint(s.far).Ended(), s.Endpoint(s.web).Terminating()}}, "web"},
		{"all gone", cluster.Part{}, ""},
		{"back", cluster.Part{Endpoints: []cluster.Endpoint{s.Endpoint(s.far)}}, "far"},
	} {
		service.SetPart(t, step.part)
		s.Settle(t)
		if step.want == "" {
			flowsFail(t, step.when, flows, probe.ErrRefused)
		} else {
			flowsReach(t, step.when, flows, step.want)
		}
	}
}

// The same under internalTrafficPolicy Local, where the flow waits while only another node has endpoints.
func TestB32_P09_UDPFlowsInternalTrafficPolicyLocal(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	third := s.Endpoint(s.addServer(t, s.Node, "third"))
	web, far := s.Endpoint(s.web), s.Endpoint(s.far)
	service := s.AddService(t, "local-flows", internalLocal)
	service.SetEndpoints(t, web, far)
	s.Settle(t)
	flows := openFlows(t, service, s.questions(cluster.Of(cluster.Ways(cluster.ClusterIP), topology.UDP)))
	for _, step := range []struct {
		when      string
		endpoints []cluster.Endpoint
		want      string
	}{
		{"at first", []cluster.Endpoint{web, far}, "web"},
		{"replaced on this node", []cluster.Endpoint{third, far}, "third"},
		{"unready on this node", []cluster.Endpoint{third.Unready(), far}, ""},
		{"ready again", []cluster.Endpoint{third, far}, "third"},
		{"gone from this node", []cluster.Endpoint{far}, ""},
		{"another one on this node", []cluster.Endpoint{web, far}, "web"},
	} {
		service.SetEndpoints(t, step.endpoints...)
		s.Settle(t)
		if step.want == "" {
			flowsFail(t, step.when, flows, probe.ErrTimeout)
		} else {
			flowsReach(t, step.when, flows, step.want)
		}
	}
}

// A flow that began before the Service was served is none of the node's own once it is.
func TestB32_P09_UDPFlowsOlderThanTheService(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	const others = "service.kubernetes.io/service-proxy-name"
	service := s.AddService(t, "late", cluster.Type(corev1.ServiceTypeNodePort), func(c *corev1.Service) {
		c.Labels = map[string]string{others: "somebody"}
	})
	service.SetEndpoints(t, s.Endpoint(s.far))
	flows := openFlows(t, service, s.questions(cluster.Of(cluster.Ways(cluster.NodePort), topology.UDP)))
	s.Settle(t)
	flowsFail(t, "not served yet", flows, probe.ErrRefused)
	service.Update(t, func(c *corev1.Service) { delete(c.Labels, others) })
	s.Settle(t)
	flowsReach(t, "served", flows, "far")
}
