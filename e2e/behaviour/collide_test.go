package behaviour

import (
	"context"
	"errors"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// P31, a limit of the kernel, asserted as it is so that a kernel without it is noticed: IPVS knows replies by the
// addresses and ports of endpoint and client alone. When a client's port is in use, or was a moment ago, for one way to an
// endpoint and it takes the same port for another way to the same endpoint, the replies of both are taken for those of the
// way through a virtual address that was opened last.
func TestP31_OneClientPortForTwoWays(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	s.building.Lock()
	client := s.Node.AddPod(t, "one-port")
	s.building.Unlock()
	first, second := s.AddService(t, "first"), s.AddService(t, "second")
	for _, service := range []*cluster.Service{first, second} {
		service.SetEndpoints(t, s.Endpoint(s.web))
	}
	for i, way := range cluster.Of(cluster.Ways(cluster.ClusterIP), topology.TCP, topology.UDP) {
		s.await(t, first, "web", way)
		s.await(t, second, "web", way)
		direct := probe.To(way.Protocol, s.web.Address(way.Family), cluster.TargetPort)
		direct.Timeout = first.Target(way).Timeout
		port := uint16(43000 + 10*i)
		t.Run(way.String()+"/two virtual addresses", func(t *testing.T) {
			one, two := via(t, client.Netns, first.Target(way), port), via(t, client.Netns, second.Target(way), port)
			if _, err := two.Ask(t.Context()); err != nil {
				t.Errorf("the later one is to work: %v", err)
			}
			collides(t, one)
		})
		t.Run(way.String()+"/virtual, then direct", func(t *testing.T) {
			one := via(t, client.Netns, first.Target(way), port+1)
			if err := one.Close(); err != nil {
				t.Error(err)
			}
			target := direct
			target.LocalPort, target.Timeout = port+1, lost
			if answer, err := probe.Ask(t.Context(), client.Netns, target); !errors.Is(err, probe.ErrTimeout) {
				t.Errorf("direct, from a port just used by way of a virtual address: %+v, %v; this kernel no longer confuses them", answer, err)
			}
		})
		t.Run(way.String()+"/direct, then virtual", func(t *testing.T) {
			one, two := via(t, client.Netns, direct, port+2), via(t, client.Netns, first.Target(way), port+2)
			if _, err := two.Ask(t.Context()); err != nil {
				t.Errorf("the virtual one is to work: %v", err)
			}
			collides(t, one)
		})
		t.Run(way.String()+"/a port for each", func(t *testing.T) {
			sessions := []*probe.Session{via(t, client.Netns, first.Target(way), port+3), via(t, client.Netns, second.Target(way), port+4),
				via(t, client.Netns, direct, port+5)}
			for _, session := range sessions {
				if _, err := session.Ask(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// lost is after which time an answer is taken for lost.
const lost = 3 * time.Second

// via opens a session from a port of the client and has it answered once.
func via(t *testing.T, from *topology.Netns, target probe.Target, port uint16) *probe.Session {
	t.Helper()
	target.LocalPort = port
	session, err := probe.Open(t.Context(), from, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Abort() })
	if _, err := session.Ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	return session
}

// collides checks that a session gets no answers any more.
func collides(t *testing.T, session *probe.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lost)
	defer cancel()
	if answer, err := session.Ask(ctx); !errors.Is(err, probe.ErrTimeout) {
		t.Errorf("the session that shares its port with a later one: %+v, %v; this kernel no longer confuses them", answer, err)
	}
}
