package kube

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// The same failure again and again is reported at a bounded rate; another one, and the end of it, at once.
func TestFailuresAreReportedAtABoundedRate(t *testing.T) {
	now := time.Unix(0, 0)
	sink := &recorder{}
	a := &access{resource: "services", sink: sink, now: func() time.Time { return now }, failing: map[string]failure{}}
	reports := func() int { return len(sink.log()) }
	refused := errors.New("connection refused")
	for range 100 {
		a.note(t.Context(), listing, refused)
	}
	if reports() != 1 {
		t.Fatalf("%d reports of one failure", reports())
	}
	now = now.Add(repeatAfter)
	a.note(t.Context(), listing, refused)
	a.note(t.Context(), listing, refused)
	if reports() != 2 {
		t.Errorf("%d reports after %v", reports(), repeatAfter)
	}
	a.note(t.Context(), watching, refused)
	if p := sink.problem("Kubernetes API services"); reports() != 3 || strings.Count(p, "connection refused") != 2 {
		t.Errorf("%d reports; known: %s", reports(), p)
	}
	a.note(t.Context(), listing, nil)
	a.note(t.Context(), watching, nil)
	a.note(t.Context(), watching, nil)
	if reports() != 5 || sink.problem("Kubernetes API services") != "" {
		t.Errorf("after recovery: %v", sink.log())
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	a.note(stopped, listing, context.Canceled)
	if reports() != 5 {
		t.Error("stopping is no failure")
	}
}
