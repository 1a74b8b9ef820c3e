package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/reconcile"
)

// applied records what a configuration is applied to.
type applied struct {
	calls  []string
	refuse error
	to     reconcile.Adjustment
}

func (a *applied) live() live {
	return live{
		checkScheduler: func(_ context.Context, name string) error { a.calls = append(a.calls, "check "+name); return a.refuse },
		adjust: func(_ context.Context, to reconcile.Adjustment) error {
			a.calls, a.to = append(a.calls, "adjust"), to
			return nil
		},
		patience:  func(d time.Duration) { a.calls = append(a.calls, "patience "+d.String()) },
		verbosity: newVerbosity(config.Logging{}),
		show:      func(config.Config) { a.calls = append(a.calls, "show") },
	}
}

// What changes reaches everything that depends on it; what the kernel has not got is refused before anything changes.
func TestApplyReachesEverything(t *testing.T) {
	before := loaded(t)
	after := loaded(t, "--ipvs-scheduler=mh", "--ipvs-sync-period=20s", "--ipvs-min-sync-period=3s", "--masquerade-all", "--nodeport-addresses=primary", "-v=5")
	refusing := &applied{refuse: errors.New("modprobe ip_vs_mh")}
	if err := refusing.live().apply(t.Context(), before, after); !errors.Is(err, errKernel) || !errors.Is(err, refusing.refuse) ||
		!strings.Contains(err.Error(), `ipvs.scheduler: "mh"`) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"check mh"}, refusing.calls); diff != "" {
		t.Errorf("refused (-want +got)\n%s", diff)
	}
	a := &applied{}
	l := a.live()
	if err := l.apply(t.Context(), before, after); err != nil {
		t.Fatal(err)
	}
	if err := l.apply(t.Context(), after, after); err != nil { // no other scheduler
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"check mh", "adjust", "patience 40s", "show", "adjust", "patience 40s", "show"}, a.calls); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if a.to.Scheduler != "mh" || !a.to.MasqueradeAll || a.to.NodePorts.String() != "primary" || a.to.AuditPeriod != 20*time.Second ||
		a.to.MinPeriod != 3*time.Second || a.to.Ours == nil || len(said(l.verbosity)) != 6 {
		t.Errorf("%+v, verbosity %v", a.to, said(l.verbosity))
	}
}

// client keeps Events, or refuses them.
type client struct {
	events []*eventsv1.Event
	err    error
}

func (c *client) CreateEvent(_ context.Context, event *eventsv1.Event) error {
	c.events = append(c.events, event)
	return c.err
}

// The Event is where kubectl describe node looks, within the API's limits, and one that cannot be made is in the log.
func TestNodeEvents(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	now := time.Unix(1, 2)
	c := &client{}
	tell := nodeEvents(c, "node-1", func() time.Time { return now }, zap.New(core))
	tell(t.Context(), "RestartNeeded", strings.Repeat("ä", 1000))
	event := c.events[0]
	if event.Namespace != "default" || event.Regarding.Kind != "Node" || event.Regarding.Name != "node-1" || event.Regarding.UID != "node-1" ||
		event.Type != "Warning" || event.Reason != "RestartNeeded" || event.Name != "node-1.3b9aca02" || event.Note != strings.Repeat("ä", 512) {
		t.Errorf("%+v", event)
	}
	c.err = errors.New("forbidden")
	tell(t.Context(), "RestartNeeded", "text")
	if logs.Len() != 1 || !strings.Contains(logs.All()[0].Message, "no Event") {
		t.Errorf("log %v", logs.All())
	}
}
