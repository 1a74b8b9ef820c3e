package cluster

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Events returns the daemon's Events on the Service that kubectl describe shows: those of its name and UID. The API server,
// too, writes some.
func (s *Service) Events(t testing.TB) []corev1.Event {
	t.Helper()
	kind, uid := "Service", string(s.UID)
	events := s.cluster.env.client.CoreV1().Events(s.Namespace)
	list, err := events.List(t.Context(), metav1.ListOptions{FieldSelector: events.GetFieldSelector(&s.Name, &s.Namespace, &kind, &uid).String()})
	if err != nil {
		t.Fatalf("list the Events of Service %s: %v", s.Name, err)
	}
	return slices.DeleteFunc(list.Items, func(e corev1.Event) bool { return e.ReportingController != "kube-ipvs-proxy" })
}
