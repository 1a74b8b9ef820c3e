package kube

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/client-go/tools/cache"

	"kube-ipvs-proxy/internal/service"
)

// errUnexpected: the reflector handed over something that is not of the watched kind.
var errUnexpected = errors.New("unexpected object")

// store passes what a reflector receives on to the sink. Only the reflector's goroutine changes it; age may be called
// from any.
type store struct {
	resource
	sink      service.Sink
	now       func() time.Time
	known     map[service.Name]struct{} // delivered and not deleted since
	reported  map[string]struct{}       // objects with problems
	completed bool
	last      atomic.Pointer[time.Time]
}

var (
	_ cache.TransformingStore      = (*store)(nil)
	_ cache.ReflectorBookmarkStore = (*store)(nil)
)

func newStore(r resource, sink service.Sink, now func() time.Time) *store {
	return &store{resource: r, sink: sink, now: now, known: map[service.Name]struct{}{}, reported: map[string]struct{}{}}
}

// Transformer makes the reflector convert objects while it receives a streamed list, rather than hold them whole.
func (s *store) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return s.compact(obj) }
}

func (s *store) compact(obj any) (*compact, error) {
	if c, ok := obj.(*compact); ok {
		return c, nil
	}
	if c, ok := s.convert(obj); ok {
		return c, nil
	}
	return nil, fmt.Errorf("%w: %T in the watch of %s", errUnexpected, obj, s.plural)
}

// Add delivers an object that appeared.
func (s *store) Add(obj any) error { return s.Update(obj) }

// Update delivers an object that changed; one that is not served any more is deleted.
func (s *store) Update(obj any) error {
	s.heard()
	c, err := s.compact(obj)
	if err != nil {
		return err
	}
	s.deliver(c)
	return nil
}

// Delete takes back an object that vanished, or that the selectors stopped to match.
func (s *store) Delete(obj any) error {
	s.heard()
	c, err := s.compact(obj)
	if err != nil {
		return err
	}
	c.deliver, c.problems = nil, nil
	s.deliver(c)
	s.reportAbsence()
	return nil
}

// Replace delivers a whole list, and takes back what is not in it.
func (s *store) Replace(list []any, _ string) error {
	s.heard()
	present := make(map[service.Name]struct{}, len(list))
	objects := make(map[string]struct{}, len(list))
	for _, obj := range list {
		c, err := s.compact(obj)
		if err != nil {
			return err
		}
		present[c.key()], objects[c.object] = struct{}{}, struct{}{}
		s.deliver(c)
	}
	for name := range s.known {
		if _, ok := present[name]; !ok {
			s.forget(name)
		}
	}
	for object := range s.reported {
		if _, ok := objects[object]; !ok {
			s.report(object, nil)
		}
	}
	s.reportAbsence()
	if !s.completed {
		s.completed = true
		s.sink.Complete(s.name)
	}
	return nil
}

// Bookmark notes that the API server is there, although nothing changed.
func (s *store) Bookmark(string) error {
	s.heard()
	return nil
}

// Resync does nothing: the sink forgets nothing.
func (s *store) Resync() error { return nil }

func (s *store) deliver(c *compact) {
	s.report(c.object, c.problems)
	if c.deliver == nil {
		s.forget(c.key())
		return
	}
	s.known[c.key()] = struct{}{}
	c.deliver(s.sink)
}

func (s *store) forget(name service.Name) {
	if _, ok := s.known[name]; ok {
		delete(s.known, name)
		s.remove(s.sink, name)
	}
}

// report passes problems on, unless there are none now and were none before.
func (s *store) report(object string, problems []service.Problem) {
	_, before := s.reported[object]
	if len(problems) == 0 && !before {
		return
	}
	delete(s.reported, object)
	if len(problems) > 0 {
		s.reported[object] = struct{}{}
	}
	s.sink.Report(object, problems)
}

func (s *store) reportAbsence() {
	if s.absent != nil && len(s.known) == 0 {
		s.report(s.absent.Object, []service.Problem{*s.absent})
	}
}

func (s *store) heard() {
	now := s.now()
	s.last.Store(&now)
}

func (s *store) age() (time.Duration, bool) {
	last := s.last.Load()
	if last == nil {
		return 0, false
	}
	return s.now().Sub(*last), true
}
