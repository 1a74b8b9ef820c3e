package kube

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/service"
)

// recorder is a sink that writes down what it is told.
type recorder struct {
	mutex    sync.Mutex
	lines    []string
	problems map[string][]service.Problem
}

func (r *recorder) note(format string, args ...any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) SetService(s service.Service)    { r.note("set service %s %v", s.Name, s.VIPs.Cluster) }
func (r *recorder) DeleteService(name service.Name) { r.note("delete service %s", name) }
func (r *recorder) SetSlice(s service.Slice)        { r.note("set slice %s of %s", s.Name, s.Service) }
func (r *recorder) DeleteSlice(name service.Name)   { r.note("delete slice %s", name) }
func (r *recorder) SetNode(n service.Node)          { r.note("set node %s %v", n.Name, n.Addresses) }
func (r *recorder) DeleteNode(name string)          { r.note("delete node %s", name) }
func (r *recorder) SetOtherNodes(a []netip.Addr)    { r.note("set other nodes %v", a) }
func (r *recorder) Complete(source string)          { r.note("complete %s", source) }

func (r *recorder) Report(object string, problems []service.Problem) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.problems == nil {
		r.problems = map[string][]service.Problem{}
	}
	delete(r.problems, object)
	if len(problems) > 0 {
		r.problems[object] = problems
	}
	r.lines = append(r.lines, fmt.Sprintf("report %s: %d", object, len(problems)))
}

// log returns what happened so far.
func (r *recorder) log() []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.lines)
}

// problem returns what is known of an object, as one text.
func (r *recorder) problem(object string) string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var out []string
	for _, p := range r.problems[object] {
		out = append(out, p.Error())
	}
	return strings.Join(out, "\n")
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, log func() []string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("still not: %s; so far:\n%s", what, strings.Join(log(), "\n"))
		case <-tick.C:
		}
	}
}

// await waits until the sink has been told something.
func (r *recorder) await(t *testing.T, line string) {
	t.Helper()
	eventually(t, line, r.log, func() bool { return slices.Contains(r.log(), line) })
}

// start runs a source for the Node node-1 until the test ends.
func start(t *testing.T, client API, now func() time.Time) (*Source, *recorder) {
	t.Helper()
	sink := &recorder{}
	source := New(client, "node-1", sink, Options{Now: now})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return source, sink
}

func awaitComplete(t *testing.T, sink *recorder) {
	t.Helper()
	for _, name := range Completes() {
		sink.await(t, "complete "+name)
	}
}
