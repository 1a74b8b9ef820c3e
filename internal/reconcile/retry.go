package reconcile

import (
	"net/netip"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// retries remembers the objects whose operations failed, each with a backoff of its own.
type retries struct {
	objects map[any]attempt // by VirtualServerKey, netip.Addr, Entry key or Flows
}

type attempt struct {
	failures int
	due      time.Time
}

func newRetries() *retries { return &retries{objects: make(map[any]attempt)} }

// settle records the outcome of a round: every key that was planned either failed or is done with.
func (r *retries) settle(planned, failed dataplane.Keys, now time.Time) {
	had := len(r.objects) > 0
	settleKind(r, planned.VirtualServers, failed.VirtualServers, now)
	settleKind(r, planned.Addresses, failed.Addresses, now)
	settleKind(r, planned.Entries, failed.Entries, now)
	settleKind(r, planned.Flows, failed.Flows, now)
	if had && len(r.objects) == 0 {
		r.objects = newRetries().objects // one that was large takes long to walk for ever
	}
}

func settleKind[K comparable](r *retries, planned, failed map[K]struct{}, now time.Time) {
	for key := range failed {
		failures := r.objects[key].failures + 1
		r.objects[key] = attempt{failures, now.Add(backoff(failures))}
	}
	if len(r.objects) == 0 {
		return
	}
	for key := range planned {
		if _, again := failed[key]; !again {
			delete(r.objects, key)
		}
	}
}

// due adds the keys whose time has come to keys, and returns how many these are.
func (r *retries) due(now time.Time, keys dataplane.Keys) (count int) {
	for key, attempt := range r.objects {
		if attempt.due.After(now) {
			continue
		}
		count++
		switch k := key.(type) {
		case dataplane.VirtualServerKey:
			keys.VirtualServers[k] = struct{}{}
		case netip.Addr:
			keys.Addresses[k] = struct{}{}
		case dataplane.Entry:
			keys.Entries[k] = struct{}{}
		case dataplane.Flows:
			keys.Flows[k] = struct{}{}
		}
	}
	return count
}

// dueOf returns when the operations on an object that failed are tried again.
func (r *retries) dueOf(object dataplane.Object) time.Time {
	var key any = object
	switch x := object.(type) {
	case dataplane.VirtualServer:
		key = x.Key
	case dataplane.Member:
		key = x.VirtualServer
	case dataplane.Address:
		key = x.Addr
	case dataplane.Entry:
		key = x.Key()
	}
	return r.objects[key].due
}

// next returns when the earliest retry is due.
func (r *retries) next() (at time.Time, any bool) {
	for _, attempt := range r.objects {
		if !any || attempt.due.Before(at) {
			at, any = attempt.due, true
		}
	}
	return at, any
}

// step is a piece of work on the whole node: it is due at a time, and is repeated with a backoff while it fails.
type step struct {
	due      time.Time
	waiting  bool
	failures int
}

// request makes the step due at once, unless it is backing off after a failure.
func (s *step) request(now time.Time) {
	if s.failures == 0 || !s.waiting {
		s.at(now)
	}
}

// at makes the step due at the given time.
func (s *step) at(due time.Time) { s.due, s.waiting = due, true }

// by makes the step due at the given time at the latest, unless it is backing off after a failure.
func (s *step) by(due time.Time) {
	if !s.waiting || s.failures == 0 && due.Before(s.due) {
		s.at(due)
	}
}

// begin reports whether the step is due, and if so takes it for begun: a request from now on asks for another time.
func (s *step) begin(now time.Time) bool {
	if !s.waiting || s.due.After(now) {
		return false
	}
	s.waiting = false
	return true
}

// done records the outcome and schedules a repetition after a failure.
func (s *step) done(now time.Time, err error) {
	if err == nil {
		s.failures = 0
		return
	}
	s.failures++
	s.at(now.Add(backoff(s.failures)))
}
