package reconcile

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"kube-ipvs-proxy/internal/service"
)

// source is one origin of objects, and what it has delivered. All sources share the inbox's lock.
type source struct {
	inbox   *inbox
	name    string
	catalog *service.Catalog
	// awaited are the parts that have not been completed; the source's objects count once there are none.
	awaited map[string]struct{}
	dirty   map[service.Name]pending
}

// inbox is where sources leave their objects and the reconciler's goroutine fetches them.
type inbox struct {
	mu        sync.Mutex
	sources   []*source
	node      service.Node
	others    []netip.Addr // addresses of the other Nodes
	nodeDirty bool         // node or others changed
	triggered []Trigger
	started   time.Time // endpoint changes of before are those of an earlier process
	delivered delivered
	notify    func() // called without the lock after a change
	problems  func(object string, problems []service.Problem)
}

var _ service.Sink = (*source)(nil)

// change runs f under the lock and wakes the reconciler if f says that something changed.
func (s *source) change(f func() bool) {
	s.inbox.mu.Lock()
	changed := f()
	s.inbox.mu.Unlock()
	if changed {
		s.inbox.notify()
	}
}

// SetService implements service.Sink.
func (s *source) SetService(svc service.Service) {
	s.change(func() bool {
		s.inbox.delivered.services++
		if !s.catalog.SetService(svc) {
			return false
		}
		s.changedService(svc.Name)
		return len(s.awaited) == 0
	})
}

// DeleteService implements service.Sink.
func (s *source) DeleteService(name service.Name) {
	s.change(func() bool {
		s.inbox.delivered.services++
		if !s.catalog.DeleteService(name) {
			return false
		}
		s.changedService(name)
		return len(s.awaited) == 0
	})
}

// SetSlice implements service.Sink.
func (s *source) SetSlice(slice service.Slice) {
	s.change(func() bool {
		changed := s.markDirty(s.catalog.SetSlice(slice))
		if changed && slice.Triggered.After(s.inbox.started) {
			s.inbox.triggered = append(s.inbox.triggered, triggerOf(slice))
		}
		return changed
	})
}

// DeleteSlice implements service.Sink.
func (s *source) DeleteSlice(name service.Name) {
	s.change(func() bool { return s.markDirty(s.catalog.DeleteSlice(name)) })
}

func (s *source) markDirty(names []service.Name) bool {
	s.inbox.delivered.slices++
	s.changedSlice(names)
	return len(names) > 0 && len(s.awaited) == 0
}

// SetNode implements service.Sink. Only the node that the proxy runs on is delivered.
func (s *source) SetNode(node service.Node) {
	s.change(func() bool {
		s.inbox.node, s.inbox.nodeDirty = node, true
		return true
	})
}

// DeleteNode implements service.Sink: what was known of the node stays, apart from its being there.
func (s *source) DeleteNode(string) {
	s.change(func() bool {
		s.inbox.node.Deleting, s.inbox.nodeDirty = true, true
		return true
	})
}

// SetOtherNodes implements service.Sink.
func (s *source) SetOtherNodes(addrs []netip.Addr) {
	s.change(func() bool {
		if slices.Equal(s.inbox.others, addrs) {
			return false
		}
		s.inbox.others, s.inbox.nodeDirty = addrs, true
		return true
	})
}

// Report implements service.Sink.
func (s *source) Report(object string, problems []service.Problem) {
	s.inbox.problems(object, problems)
}

// Complete implements service.Sink.
func (s *source) Complete(part string) {
	s.change(func() bool {
		_, was := s.awaited[part]
		delete(s.awaited, part)
		return was && len(s.awaited) == 0
	})
}

// dirtyView is a Service to translate: its view, or none when it is gone.
type dirtyView struct {
	source string
	name   service.Name
	view   service.View
	exists bool
}

// delivery is what the reconciler fetches from the inbox for one round.
type delivery struct {
	services  []dirtyView
	node      service.Node
	others    []netip.Addr
	nodeDirty bool
	triggered []Trigger
	complete  bool // every source is
	more      bool // there is more to fetch at once
}

// fetch takes what changed out of the inbox. With urgent set, only Services for which it is true are taken, if any are
// dirty; the delivery then says that there is more. Nothing of an incomplete source is delivered.
func (b *inbox) fetch(urgent func(service.Name) bool) delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := delivery{node: b.node, others: b.others, nodeDirty: b.nodeDirty, complete: true}
	b.nodeDirty = false
	var ready []*source
	for _, s := range b.sources {
		if len(s.awaited) > 0 {
			d.complete = false
		} else {
			ready = append(ready, s)
		}
	}
	if urgent != nil {
		if d.services = take(ready, urgent); len(d.services) > 0 {
			d.more = true
			return d
		}
	}
	d.services = take(ready, nil)
	d.triggered, b.triggered = b.triggered, nil
	return d
}

// take removes the dirty Services that are wanted, or all if want is nil, from the sources and returns their views.
func take(sources []*source, want func(service.Name) bool) []dirtyView {
	var taken []dirtyView
	for _, s := range sources {
		if want == nil {
			taken = slices.Grow(taken, len(s.dirty)) // views are large, to be moved again and again
		}
		for name := range s.dirty {
			if want != nil && !want(name) {
				continue
			}
			view, exists := s.catalog.View(name)
			taken = append(taken, dirtyView{s.name, name, view, exists})
			delete(s.dirty, name)
		}
		if len(s.dirty) == 0 {
			s.dirty = make(map[service.Name]pending) // a map in which every Service was once takes long to walk for ever
		}
	}
	return taken
}

// service returns a Service as a source last delivered it.
func (b *inbox) service(source string, name service.Name) (service.Service, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sources {
		if s.name == source {
			view, exists := s.catalog.View(name)
			return view.Service, exists
		}
	}
	return service.Service{}, false
}

// touch makes the Services of these owners dirty.
func (b *inbox) touch(owners []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, owner := range owners {
		source, name := ownedBy(owner)
		for _, s := range b.sources {
			if s.name == source {
				s.touch(name)
			}
		}
	}
}

// touchAll makes every Service dirty: the node's own facts changed.
func (b *inbox) touchAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sources {
		for name := range s.catalog.Names() {
			s.touch(name)
		}
	}
}
