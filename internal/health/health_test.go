package health_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/health"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

const patience = time.Minute

// probe is a State with a clock of its own, asked over HTTP.
type probe struct {
	*testing.T
	*health.State
	clock *clocktesting.FakeClock
}

func newProbe(t *testing.T) *probe {
	clock := clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	p := &probe{t, health.NewState(clock, patience, dataplane.Families()), clock}
	p.round()
	return p
}

// round is a round that starts and ends now, with failures.
func (p *probe) round(failures ...reconcile.Failure) {
	p.RoundDone(reconcile.Round{Started: p.clock.Now(), Failures: failures, Waiting: len(failures)})
}

// expect checks the status codes of both endpoints, after some time.
func (p *probe) expect(after time.Duration, healthz, livez int) map[string]any {
	p.Helper()
	p.clock.Step(after)
	var body map[string]any
	for path, want := range map[string]int{"/livez": livez, "/healthz": healthz} {
		answer := httptest.NewRecorder()
		p.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		if answer.Code != want {
			p.Fatalf("%s answered %d, want %d: %s", path, answer.Code, want, answer.Body)
		}
		if path == "/healthz" {
			if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
				p.Fatalf("no JSON: %v: %s", err, answer.Body)
			}
		}
	}
	return body
}

// B50: a change that waits longer than patience makes the proxy unhealthy, and the round that applies it healthy again.
func TestB50UnhealthyWhileAChangeWaits(t *testing.T) {
	p := newProbe(t)
	p.expect(time.Hour, 200, 200)
	p.Queued(p.clock.Now())
	p.expect(patience-time.Second, 200, 200)
	p.Queued(p.clock.Now()) // the age that counts is that of the oldest
	p.expect(time.Second, 503, 503)
	p.round()
	body := p.expect(0, 200, 200)
	for _, field := range []string{"lastUpdated", "currentTime", "nodeEligible", "healthy", "status"} {
		if _, ok := body[field]; !ok {
			t.Errorf("the answer lacks %s: %v", field, body)
		}
	}
}

// A change that arrives while a round is under way waits for the next.
func TestChangeDuringARoundStillWaits(t *testing.T) {
	p := newProbe(t)
	started := p.clock.Now()
	p.clock.Step(time.Second)
	p.Queued(p.clock.Now())
	p.RoundDone(reconcile.Round{Started: started})
	p.expect(patience, 503, 503)
}

// P05: as long as the kernel cannot be read or listened to, the proxy is unhealthy; what failed for a moment is forgiven.
func TestP05UnhealthyWhileTheKernelCannotBeRead(t *testing.T) {
	for _, step := range []reconcile.Step{reconcile.StepSnapshot, reconcile.StepAddresses, reconcile.StepFoundation, reconcile.StepSubscribe} {
		p := newProbe(t)
		p.StepDone(step, errors.New("bad file descriptor"))
		p.expect(patience-time.Second, 200, 200)
		p.StepDone(step, errors.New("bad file descriptor"))
		p.round()
		p.expect(time.Second, 503, 503)
		p.StepDone(step, nil)
		p.expect(0, 200, 200)
		p.expect(time.Hour, 200, 200)
	}
}

// Invariant 13: objects that fail for ever, and objects with problems, are no reason to take the node out of service.
func TestOneBadServiceDoesNotMakeTheNodeUnhealthy(t *testing.T) {
	p := newProbe(t)
	bad := reconcile.Failure{Operation: dataplane.Operation{Verb: dataplane.Add, Object: dataplane.VirtualServer{}}, Err: dataplane.ErrInvalid}
	for range 10 {
		p.Queued(p.clock.Now())
		p.Problems("Service default/web", []service.Problem{{Reason: "wrong"}})
		p.round(bad)
		p.expect(patience, 200, 200)
	}
}

// B50: a node that is about to go answers no to load balancers, and stays alive.
func TestB50NodeThatIsAboutToGo(t *testing.T) {
	for _, node := range []service.Node{{Deleting: true}, {Excluded: true}} {
		p := newProbe(t)
		p.NodeChanged(node)
		if body := p.expect(0, 503, 200); body["nodeEligible"] != false {
			t.Errorf("nodeEligible is %v", body["nodeEligible"])
		}
		p.NodeChanged(service.Node{})
		p.expect(0, 200, 200)
	}
}
