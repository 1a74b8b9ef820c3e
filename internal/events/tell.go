package events

import (
	"context"
	"errors"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// The rhythm of requests. See the package comment for what they add up to.
const (
	firstSpread    = 30 * time.Second
	leastSpread    = 10 * time.Second
	mostSpread     = 5 * time.Minute
	afterCreating  = time.Second
	longest        = time.Hour        // how long a notice waits while others are quicker
	requestTimeout = 10 * time.Second // of one request
)

// teller is what the goroutine of Run knows.
type teller struct {
	*Recorder
	spread time.Duration // how long to wait at most before a request
	silent bool          // the last request failed, which has been logged
}

// Run tells what is wrong until the context ends.
func (r *Recorder) Run(ctx context.Context) {
	t := &teller{Recorder: r, spread: firstSpread}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-r.arrived:
		}
		for pause := t.draw(); t.busy() && t.sleep(ctx, pause); {
			pause = t.tellOne(ctx)
		}
	}
}

// draw returns how long to wait for others to be quicker.
func (t *teller) draw() time.Duration { return time.Duration(t.options.Random() * float64(t.spread)) }

// busy reports whether something waits.
func (t *teller) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting) > 0
}

// sleep reports whether the time has passed without the context ending.
func (t *teller) sleep(ctx context.Context, d time.Duration) bool {
	timer := t.options.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

// tellOne tries to tell one of the notices, any one: nodes that take them in different orders find sooner what nobody has
// told yet. It returns how long to wait before the next.
func (t *teller) tellOne(ctx context.Context) time.Duration {
	n, ok := t.pick()
	if !ok {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	event := n.toEvent(t.options.Node, t.options.Clock.Now())
	err := t.options.Client.CreateEvent(ctx, event)
	outcome := outcomeOf(err)
	t.settle(n, outcome)
	t.report(ctx, outcome, err)
	if outcome == Created {
		t.spread = leastSpread
		return afterCreating
	}
	t.spread = min(2*t.spread, mostSpread)
	return t.draw()
}

func (t *teller) pick() (notice, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		return notice{}, false
	}
	return t.waiting[int(t.options.Random()*float64(len(t.waiting)))].notice, true
}

// settle takes note of an outcome and of what it means for all that waits.
func (t *teller) settle(n notice, outcome Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[outcome]++
	switch outcome {
	case Failed:
		return
	case Existing, Refused:
		old := t.options.Clock.Now().Add(-longest)
		for len(t.waiting) > 0 && t.waiting[0].since.Before(old) { // the oldest come first
			t.counts[Dropped]++
			t.waiting = t.waiting[1:]
		}
	}
	t.remove(n)
}

// report logs the first of several requests in a row that do not get through.
func (t *teller) report(ctx context.Context, outcome Outcome, err error) {
	switch outcome {
	case Created, Existing:
		t.silent = false
		return
	case Refused:
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return // the Service is about to go as well
		}
	case Failed:
		if errors.Is(ctx.Err(), context.Canceled) {
			return // the daemon is stopping
		}
	}
	if t.silent {
		return
	}
	t.silent = true
	t.options.Log("Events on Services cannot be created; what is wrong with them is in this log and in the metrics only. "+
		"If it is forbidden, grant the verb create on events of the API group events.k8s.io to this daemon's account", "error", err)
}

// outcomeOf says what the API server's answer means.
func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Created
	case apierrors.IsAlreadyExists(err):
		return Existing
	case apierrors.IsUnauthorized(err), apierrors.IsTooManyRequests(err), apierrors.IsTimeout(err):
		return Failed // credentials are renewed, and servers recover
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		if code := status.Status().Code; code >= http.StatusBadRequest && code < http.StatusInternalServerError {
			return Refused
		}
	}
	return Failed
}
