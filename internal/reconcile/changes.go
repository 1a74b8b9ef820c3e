package reconcile

import "kube-ipvs-proxy/internal/service"

// Changes are what the sources have delivered so far.
type Changes struct {
	Services  ChangeCount
	Endpoints ChangeCount // EndpointSlices
}

// ChangeCount counts the changes to one kind of object.
type ChangeCount struct {
	Total   uint64 // delivered, those included that change nothing for this node
	Pending int    // those that the next round applies
}

// pending is what has changed of a dirty Service. When nothing has, it is dirty since what is around it means something
// else.
type pending struct {
	service bool // the Service itself
	slices  int  // changes to its EndpointSlices
}

// Changes returns what the sources have delivered so far. It may be called from any goroutine.
func (r *Reconciler) Changes() Changes {
	b := r.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	out := Changes{Services: ChangeCount{Total: b.delivered.services}, Endpoints: ChangeCount{Total: b.delivered.slices}}
	for _, s := range b.sources {
		for _, p := range s.dirty {
			if p.service {
				out.Services.Pending++
			}
			out.Endpoints.Pending += p.slices
		}
	}
	return out
}

// delivered counts what sources have delivered.
type delivered struct{ services, slices uint64 }

// changedService takes note that a Service itself changed.
func (s *source) changedService(name service.Name) {
	p := s.dirty[name]
	p.service = true
	s.dirty[name] = p
}

// changedSlice takes note that a slice of these Services changed: of one, or of two if it went from one to the other, which
// is one change.
func (s *source) changedSlice(names []service.Name) {
	for i, name := range names {
		p := s.dirty[name]
		if i == 0 {
			p.slices++
		}
		s.dirty[name] = p
	}
}

// touch makes a Service dirty that has not changed itself.
func (s *source) touch(name service.Name) {
	if _, dirty := s.dirty[name]; !dirty {
		s.dirty[name] = pending{}
	}
}
