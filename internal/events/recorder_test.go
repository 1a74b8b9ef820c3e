package events_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/events"
	"kube-ipvs-proxy/internal/service"
)

// node is a recorder at work, in a bubble of fake time.
type node struct {
	*testing.T
	*events.Recorder
	api *fake.Clientset

	mu     sync.Mutex
	logged []string
}

// clientset is client-go's API server in memory.
type clientset struct{ *fake.Clientset }

func (c clientset) CreateEvent(ctx context.Context, event *eventsv1.Event) error {
	_, err := c.EventsV1().Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{})
	return err
}

func start(t *testing.T) *node {
	t.Helper()
	n := &node{T: t, api: fake.NewClientset()}
	n.Recorder = events.New(events.Options{Client: clientset{n.api}, Node: "node-1", Clock: clock.RealClock{},
		Random: rand.New(rand.NewPCG(1, 2)).Float64, Log: n.log})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Recorder.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return n
}

func (n *node) log(message string, keysAndValues ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.logged = append(n.logged, fmt.Sprint(append([]any{message}, keysAndValues...)...))
}

// refuse makes the API server answer every request to create an Event with what answer returns, unless that is nil.
func (n *node) refuse(answer func() error) {
	n.api.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		err := answer()
		return err != nil, nil, err
	})
}

// settle lets time pass and everything that is due happen.
func (n *node) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// notes returns what the Events say, sorted.
func (n *node) notes() []string {
	n.Helper()
	list, err := n.api.EventsV1().Events("").List(n.Context(), metav1.ListOptions{})
	if err != nil {
		n.Fatal(err)
	}
	var out []string
	for _, event := range list.Items {
		out = append(out, event.Note)
	}
	slices.Sort(out)
	return out
}

func (n *node) expect(when string, want ...string) {
	n.Helper()
	if got := n.notes(); !slices.Equal(got, want) {
		n.Errorf("%s, the Events are %q, want %q", when, got, want)
	}
}

// wrong returns a problem of a Service of the API server.
func wrong(name, reason string) service.Problem {
	return service.Problem{Object: "Service default/" + name, UID: "uid-of-" + name, Reason: reason}
}

func TestEventOfAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		n.Problems("conflicts of Service shop/young", []service.Problem{{Object: "Service shop/young", Field: "spec.externalIPs",
			Value: "203.0.113.1:80/TCP", Reason: "Service shop/old has it", UID: "1-2-3", Rival: "Service shop/old"}})
		n.settle(30 * time.Second)
		list, err := n.api.EventsV1().Events("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%d Events in the Service's namespace, %v", len(list.Items), err)
		}
		got := list.Items[0]
		if !strings.HasPrefix(got.Name, "young.") || got.EventTime.IsZero() {
			t.Errorf("name %q, time %v", got.Name, got.EventTime)
		}
		got.ObjectMeta, got.EventTime = metav1.ObjectMeta{}, metav1.MicroTime{}
		want := eventsv1.Event{ReportingController: "kube-ipvs-proxy", ReportingInstance: "node-1", Type: "Warning",
			Reason: "ServiceConflict", Action: "Serve", Note: `spec.externalIPs "203.0.113.1:80/TCP": Service shop/old has it`,
			Regarding: corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "young", UID: "1-2-3"},
			Related:   &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "old"}}
		if got.String() != want.String() {
			t.Errorf("got  %s\nwant %s", got.String(), want.String())
		}
	})
}

// Only what is wrong with a Service of the API server is told: objects of manifests are unknown there.
func TestWhatIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		problem service.Problem
		want    string // what the one Event says; empty for none
	}{
		"a field":                       {service.Problem{Object: "Service a/b", UID: "1", Field: "spec.externalIPs[0]", Value: "127.0.0.1", Reason: "loopback"}, `spec.externalIPs[0] "127.0.0.1": loopback`},
		"the whole object":              {service.Problem{Object: "Service a/b", UID: "1", Reason: "no"}, "no"},
		"a Service of manifests":        {service.Problem{Object: "Service a/b", Reason: "no"}, ""},
		"an EndpointSlice":              {service.Problem{Object: "EndpointSlice a/b", UID: "1", Reason: "no"}, ""},
		"a Node":                        {service.Problem{Object: "Node a", UID: "1", Reason: "no"}, ""},
		"more than the API takes":       {service.Problem{Object: "Service a/b", UID: "1", Reason: strings.Repeat("x", 1023) + "ä"}, strings.Repeat("x", 1023)},
		"a conflict with one of a file": {service.Problem{Object: "Service a/b", UID: "1", Reason: "no", Rival: "Service a/b of source manifests"}, "no"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := start(t)
				n.Problems("x", []service.Problem{c.problem, c.problem})
				n.settle(time.Hour)
				var want []string
				if c.want != "" {
					want = []string{c.want}
				}
				n.expect("in the end", want...)
			})
		})
	}
}

// A problem is told once, not again with every report; one that has gone in time is not told.
func TestToldOnceAndOnlyWhatLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		n.Problems("x", []service.Problem{wrong("web", "one"), wrong("web", "two")})
		n.Problems("x", []service.Problem{wrong("web", "two")})
		n.settle(time.Hour)
		n.expect("when one has gone at once", "two")
		requests := len(n.api.Actions())
		n.Problems("x", []service.Problem{wrong("web", "two")})
		n.Problems("y", nil)
		n.settle(time.Hour)
		if more := len(n.api.Actions()) - requests; more != 0 {
			t.Errorf("the same problem again cost %d requests", more)
		}
		n.Problems("x", []service.Problem{wrong("web", "two"), wrong("web", "three")})
		n.settle(time.Hour)
		n.expect("with another one", "three", "two")
		n.Problems("x", nil)
		n.Problems("x", []service.Problem{wrong("web", "two")})
		n.settle(time.Hour)
		n.expect("when one came again", "three", "two")
		if got := n.Counts(); got["created"] != 2 || got["existing"] != 1 {
			t.Errorf("the outcomes are %v", got)
		}
	})
}

// One problem is one Event, in whatever words, and in the last ones before it is told.
func TestWordsDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		worded := func(reason string) []service.Problem {
			p := wrong("web", reason)
			p.Field, p.Value = "spec.externalIPs", "192.0.2.10"
			return []service.Problem{p}
		}
		n.Problems("x", worded("another node has it"))
		n.Problems("x", worded("this node has it"))
		n.settle(time.Hour)
		n.Problems("x", worded("some node has it"))
		n.Problems("y", worded("no node has it")) // as another node's report would be
		n.settle(time.Hour)
		n.expect("in the end", `spec.externalIPs "192.0.2.10": this node has it`)
		if got := n.Counts(); got["created"] != 1 || got["existing"] != 1 {
			t.Errorf("the outcomes are %v", got)
		}
	})
}

// Very many problems of one Service, or very many in all, are not all told.
func TestTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		var problems []service.Problem
		for i := range 100 {
			problems = append(problems, wrong("web", fmt.Sprint("problem ", i)))
		}
		n.Problems("x", problems)
		n.settle(time.Hour)
		if got := len(n.notes()); got != 8 {
			t.Errorf("%d Events on one Service, want 8", got)
		}
		for i := range 2000 {
			n.Problems(fmt.Sprint(i), []service.Problem{wrong(fmt.Sprint("web-", i), "no")})
		}
		if got := n.Counts(); got["created"] != 8 || got["dropped"] != 1000 {
			t.Errorf("the outcomes are %v, want 8 created and 1000 dropped", got)
		}
	})
}

func TestRefusal(t *testing.T) {
	group := schema.GroupResource{Group: "events.k8s.io", Resource: "events"}
	terminating := apierrors.NewForbidden(group, "web", errors.New("going"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for name, c := range map[string]struct {
		answer error
		told   int // in the end
		logged int
		count  string
	}{
		"forbidden":               {apierrors.NewForbidden(group, "web", errors.New("no")), 0, 1, "refused"},
		"namespace going":         {terminating, 0, 0, "refused"},
		"not valid":               {apierrors.NewBadRequest("no"), 0, 1, "refused"},
		"no answer":               {errors.New("connection refused"), 3, 1, "failed"},
		"an error of the server":  {apierrors.NewInternalError(errors.New("no")), 3, 1, "failed"},
		"too much to do":          {apierrors.NewTooManyRequests("later", 1), 3, 1, "failed"},
		"credentials out of date": {apierrors.NewUnauthorized("no"), 3, 1, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, until := start(t), time.Now().Add(30*time.Minute)
				n.refuse(func() error {
					if time.Now().Before(until) {
						return c.answer
					}
					return nil
				})
				for i := range 3 {
					n.Problems(fmt.Sprint(i), []service.Problem{wrong("web", fmt.Sprint(i))})
				}
				n.settle(time.Hour)
				if got := len(n.notes()); got != c.told || len(n.logged) != c.logged || n.Counts()[c.count] < 3 {
					t.Errorf("%d Events, want %d; %d lines, want %d: %q; %v", got, c.told, len(n.logged), c.logged, n.logged, n.Counts())
				}
				n.Problems("later", []service.Problem{wrong("web", "later")})
				n.settle(time.Hour)
				if got := len(n.notes()); got != c.told+1 {
					t.Errorf("%d Events when it works again, want %d", got, c.told+1)
				}
			})
		})
	}
}

// A server that does not answer holds up nobody who reports problems.
func TestReportsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, block := start(t), make(chan struct{})
		n.refuse(func() error { <-block; return nil })
		began := time.Now()
		for i := range 10000 {
			n.Problems(fmt.Sprint(i%5000), []service.Problem{wrong("web", fmt.Sprint(i))})
			if i == 0 {
				n.settle(30 * time.Second) // the request is under way
				began = time.Now()
			}
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("reports waited %v", waited)
		}
		close(block)
	})
}
