package events_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/events"
	"kube-ipvs-proxy/internal/service"
)

// server is an API server as far as many nodes that create Events see one.
type server struct {
	mu       sync.Mutex
	start    time.Time
	created  map[string]time.Duration // name → when
	requests []int                    // in each second since the start
}

func newServer() *server {
	return &server{start: time.Now(), created: make(map[string]time.Duration)}
}

func (s *server) CreateEvent(_ context.Context, event *eventsv1.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := time.Since(s.start)
	for len(s.requests) <= int(since/time.Second) {
		s.requests = append(s.requests, 0)
	}
	s.requests[int(since/time.Second)]++
	if _, exists := s.created[event.Name]; exists {
		return apierrors.NewAlreadyExists(schema.GroupResource{Group: "events.k8s.io", Resource: "events"}, event.Name)
	}
	s.created[event.Name] = since
	return nil
}

// most returns the largest number of requests in a second from the given one on, and how many there were in all.
func (s *server) most(from time.Duration) (most, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for second, n := range s.requests {
		if second >= int(from/time.Second) {
			most, all = max(most, n), all+n
		}
	}
	return most, all
}

// last returns when the last Event was created.
func (s *server) last() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last time.Duration
	for _, at := range s.created {
		last = max(last, at)
	}
	return last
}

// crowd are the recorders of many nodes at work.
type crowd []*events.Recorder

func newCrowd(t *testing.T, nodes int, api *server) crowd {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var all crowd
	var running sync.WaitGroup
	for i := range nodes {
		r := events.New(events.Options{Client: api, Node: fmt.Sprint("node-", i), Clock: clock.RealClock{},
			Random: rand.New(rand.NewPCG(7, uint64(i))).Float64, Log: func(string, ...any) {}})
		all = append(all, r)
		running.Go(func() { r.Run(ctx) })
	}
	t.Cleanup(func() { stop(); running.Wait() })
	return all
}

// see lets every node see so many new problems.
func (c crowd) see(name string, problems int) {
	for _, r := range c {
		for i := range problems {
			name := fmt.Sprint(name, i)
			r.Problems(name, []service.Problem{wrong(name, "no")})
		}
	}
}

// Many nodes that see the same problems at the same time make one Event of each, soon, and ask the API server no more than
// the package comment says of five times as many nodes, but for chance, which fewer nodes even out less.
func TestStorm(t *testing.T) {
	const nodes = 1000
	for problems, limits := range map[int]struct{ first, soon, all int }{
		1:   {first: 300, soon: 150, all: 5000},
		100: {first: 450, soon: 150, all: 30 * 5000},
	} {
		t.Run(fmt.Sprint(problems), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newServer()
				nodes := newCrowd(t, nodes, api)
				for round, name := range []string{"first-", "second-"} {
					began := time.Since(api.start)
					nodes.see(name, problems)
					time.Sleep(2 * time.Hour)
					if took := api.last() - began; len(api.created) != (round+1)*problems || took > 2*time.Minute {
						t.Errorf("round %d: %d Events after %v, want %d problems told within 2 minutes", round, len(api.created), took, problems)
					}
					limit := limits.first
					if round > 0 {
						limit = limits.soon
					}
					if most, all := api.most(began); most*5 > limit || all*5 > limits.all {
						t.Errorf("round %d: %d requests, %d in a second; want %d and %d at most", round, all, most, limits.all/5, limit/5)
					}
				}
			})
		})
	}
}
