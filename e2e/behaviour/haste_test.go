package behaviour

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
)

// Objects that change faster than they can be applied: the last state wins, and nothing in between is owed. The daemon may
// apply changes every three seconds only, so that many come together.
func TestChangesFasterThanTheyAreApplied(t *testing.T) {
	t.Parallel()
	const period = 3 * time.Second
	s := newScene(t, fmt.Sprintf("--ipvs-min-sync-period=%s", period))
	service := s.AddService(t, "hasty")
	service.Expose(t)
	s.Settle(t)
	const changes = 40
	roundsBefore, begun := s.rounds(), time.Now()
	for n := range changes {
		service.SetEndpoints(t, [][]cluster.Endpoint{{s.Endpoint(s.web)}, s.both(), {s.Endpoint(s.web).Terminating()}, {}}[n%4]...)
		service.Update(t, func(c *corev1.Service) {
			affinity(int32(n % 2 * 60))(c)
			if c.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster; n%3 > 0 {
				externalLocal(c)
			}
		})
	}
	service.Update(t, func(c *corev1.Service) {
		affinity(0)(c)
		c.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	})
	service.SetEndpoints(t, s.Endpoint(s.far))
	ways := cluster.Ways(cluster.Kinds()...)
	s.awaitTable(t, service, ways, "rr", s.far) // before anyone asks: a server that had answered would still drain
	s.await(t, service, "far", ways...)
	// Other tests' Services have rounds, too, as many as the period allows.
	most := changes + int(time.Since(begun)/period)
	if rounds := s.rounds() - roundsBefore; rounds > most {
		t.Errorf("%d changes of slices and as many of the Service took %d rounds, want far fewer, at most %d", changes, rounds, most)
	}
}

// rounds counts the daemon's rounds that had something to do, by its log.
func (s *scene) rounds() int { return strings.Count(s.daemon.Output(), "\tround done\t") }
