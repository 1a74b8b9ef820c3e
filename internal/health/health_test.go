package health_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
		p.Handler(nil).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
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
		if body := p.expect(0, 503, 200); body["nodeEligible"] != false || body["healthy"] != true {
			t.Errorf("nodeEligible is %v, healthy %v", body["nodeEligible"], body["healthy"])
		}
		p.NodeChanged(service.Node{})
		p.expect(0, 200, 200)
	}
}

// As in kube-proxy, lastUpdated is now as long as the answer is 200, and the last round's end otherwise; each family says
// when it was last brought up to date.
func TestB50WhenItWasLastUpdated(t *testing.T) {
	p := newProbe(t)
	round := p.clock.Now()
	at := func(body map[string]any) (all, ipv4 string) {
		status, _ := body["status"].(map[string]any)
		family, _ := status["IPv4"].(map[string]any)
		all, _ = body["lastUpdated"].(string)
		ipv4, _ = family["lastUpdated"].(string)
		return all, ipv4
	}
	last, now := round.Format(time.RFC3339), round.Add(time.Hour).Format(time.RFC3339)
	if all, ipv4 := at(p.expect(time.Hour, 200, 200)); all != now || ipv4 != last {
		t.Errorf("healthy: lastUpdated %s, of IPv4 %s; want %s, %s", all, ipv4, now, last)
	}
	p.Queued(p.clock.Now())
	if all, ipv4 := at(p.expect(patience, 503, 503)); all != last || ipv4 != last {
		t.Errorf("unhealthy: lastUpdated %s, of IPv4 %s; want %s", all, ipv4, last)
	}
}

func TestAnswersAreCounted(t *testing.T) {
	p, got := newProbe(t), map[string]int{}
	handler := p.Handler(func(path string, status int) { got[fmt.Sprint(path, status)]++ })
	ask := func(paths ...string) {
		for _, path := range paths {
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
		}
	}
	ask("/healthz", "/livez", "/livez")
	p.NodeChanged(service.Node{Deleting: true})
	ask("/healthz", "/livez", "/elsewhere")
	want := map[string]int{"/healthz200": 1, "/livez200": 3, "/healthz503": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A patience that changes counts at once, for what waits already, too.
func TestPatienceCanChange(t *testing.T) {
	p := newProbe(t)
	p.Queued(p.clock.Now())
	p.expect(patience/2, 200, 200)
	p.SetPatience(patience / 4)
	p.expect(0, 503, 503)
	p.SetPatience(patience)
	p.expect(0, 200, 200)
}
