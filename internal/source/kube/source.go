package kube

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"

	"kube-ipvs-proxy/internal/service"
)

// The sources that a Source completes: each once its first list has been delivered.
const (
	Services       = "kube/services"
	EndpointSlices = "kube/endpointslices"
	OwnNode        = "kube/node"
)

// Completes lists the names that a Source passes to Sink.Complete.
func Completes() []string { return []string{Services, EndpointSlices, OwnNode} }

// Options are what a Source can do without.
type Options struct {
	// Now is the clock; nil for time.Now.
	Now func() time.Time
}

// Source watches the API server for one sink.
type Source struct {
	stores     []*store
	watches    []cache.ListerWatcher
	neighbours *neighbours
}

// New returns a source that delivers to sink the Services and EndpointSlices of the cluster and the Node of this name.
func New(client API, node string, sink service.Sink, options Options) *Source {
	if options.Now == nil {
		options.Now = time.Now
	}
	s := &Source{neighbours: newNeighbours(client, node, sink, options.Now)}
	sink = s.neighbours
	for _, r := range []resource{services(client), endpointSlices(client), ownNode(client, node)} {
		access := &access{resource: r.plural, sink: sink, now: options.Now, failing: map[string]failure{}}
		s.stores = append(s.stores, newStore(r, sink, options.Now))
		s.watches = append(s.watches, cache.ToListWatcherWithWatchListSemantics(access.observe(r), client))
	}
	return s
}

// Run delivers until the context ends, and then returns nil. Failures are reported to the sink and retried with
// backoff, up to half a minute or so apart, without end.
func (s *Source) Run(ctx context.Context) error {
	var running sync.WaitGroup
	s.neighbours.begin(ctx)
	running.Go(func() { s.neighbours.run(ctx) })
	for i, store := range s.stores {
		reflector := cache.NewReflectorWithOptions(s.watches[i], store.expected, store, cache.ReflectorOptions{Name: store.name})
		running.Go(func() { reflector.RunWithContext(ctx) })
	}
	running.Wait()
	return nil
}

// Ages returns how long ago the API server last said anything about each source, bookmarks included, which come about
// once a minute. A source from which nothing has come yet is missing.
func (s *Source) Ages() map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, store := range s.stores {
		if age, ok := store.age(); ok {
			out[store.name] = age
		}
	}
	return out
}
