package behaviour

import (
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// Nobody waits for a Service that nobody serves: whether it never had endpoints, has unready ones only, or lost
// them, every kind of address refuses at once (P27). On IPv6 the kernel's filter has no answer that ends an SCTP client's attempt.
func TestB27_NoEndpoints(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	service := s.AddService(t, "nobody")
	service.Expose(t)
	ways := cluster.Ways(cluster.Kinds()...)
	s.refusedEveryWay(t, "never", service, ways)

	service.SetEndpoints(t, s.Endpoint(s.web).Unready(), s.Endpoint(s.far).Unready())
	s.refusedEveryWay(t, "unready", service, cluster.Of(ways, topology.TCP, topology.UDP))

	service.SetEndpoints(t, s.both()...)
	for _, way := range ways {
		cluster.Await(t, "an endpoint that answers", func() error { return answers(t, s.client.Netns, service.Target(way)) })
	}
	service.SetEndpoints(t)
	s.refusedEveryWay(t, "evicted", service, ways)
}

func (s *scene) refusedEveryWay(t *testing.T, when string, service *cluster.Service, ways []cluster.Way) {
	t.Helper()
	s.Settle(t)
	t.Run(when, func(t *testing.T) {
		s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
			if way.Protocol == topology.SCTP && way.Family == topology.IPv6 {
				unanswered(t, from.from, service.Target(way))
				return
			}
			within := soon
			if way.Protocol == topology.TCP && way.Family == topology.IPv6 && from.name == "node" && when == "evicted" {
				// Connections of before keep the virtual server. The node's own packets meet it before the filter, and
				// the kernel's refusal meets a socket that is busy sending: the SYN's repetition is what is refused.
				within = 3 * time.Second
			}
			refusedWithin(t, from.from, service.Target(way), within)
		})
	})
}
