package differential

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Shrink looks for a smaller case that still fails: first fewer writes, then smaller objects. It calls fails, which is
// expensive, until nothing more can be left out or until fails returns an error, such as that time is up. It returns the
// smallest case that failed.
func Shrink(c Case, fails func(Case) (bool, error)) Case {
	s := &shrinker{Case: c, fails: fails}
	s.only(latest(s.writes()))
	s.fewer()
	s.only(together(s.writes()))
	for s.smaller() && !s.stopped {
	}
	return s.Case
}

// shrinker holds the smallest case so far.
type shrinker struct {
	Case
	fails   func(Case) (bool, error)
	stopped bool
}

// write is one write and its step.
type write struct {
	step int
	Op
}

func (s *shrinker) writes() []write {
	var out []write
	for i, step := range s.Steps {
		for _, op := range step {
			out = append(out, write{i, op})
		}
	}
	return out
}

// only tries with nothing but some writes, and keeps to them if that fails.
func (s *shrinker) only(writes []write) bool {
	if s.stopped || len(writes) == 0 {
		return false
	}
	smaller := Case{Settings: s.Settings}
	last := -1
	for _, w := range writes {
		if w.step != last {
			smaller.Steps = append(smaller.Steps, nil)
			last = w.step
		}
		smaller.Steps[len(smaller.Steps)-1] = append(smaller.Steps[len(smaller.Steps)-1], w.Op)
	}
	failed, err := s.fails(smaller)
	s.stopped = err != nil
	if failed {
		s.Case = smaller
	}
	return failed
}

// latest are the last writes of each object, in one step: what is there in the end.
func latest(writes []write) []write {
	var out []write
	for i, w := range writes {
		if w.Delete || slices.ContainsFunc(writes[i+1:], func(later write) bool { return later.Key() == w.Key() }) {
			continue
		}
		out = append(out, write{0, w.Op})
	}
	return out
}

// together are the same writes in one step.
func together(writes []write) []write {
	out := slices.Clone(writes)
	for i := range out {
		out[i].step = 0
	}
	return out
}

// fewer leaves out ever smaller parts of the writes (delta debugging).
func (s *shrinker) fewer() {
	for size := s.Len() / 2; size >= 1 && !s.stopped; {
		left := false
		for from := 0; from < s.Len() && !s.stopped; {
			writes := s.writes()
			if s.only(slices.Delete(slices.Clone(writes), from, min(from+size, len(writes)))) {
				left = true // what followed has moved to where the left-out part was
				continue
			}
			from += size
		}
		if !left || size > 1 {
			size /= 2
		}
	}
}

// smaller makes one object simpler, and reports whether it could.
func (s *shrinker) smaller() bool {
	for i, w := range s.writes() {
		for _, simpler := range simplified(w.Op) {
			writes := s.writes()
			writes[i].Op = simpler
			if s.only(writes) {
				return true
			}
			if s.stopped {
				return false
			}
		}
	}
	return false
}

// simplified returns variants of a write that have one thing less.
func simplified(op Op) []Op {
	if op.Delete {
		return nil
	}
	if op.Service != nil {
		return simplifiedService(op.Service)
	}
	var out []Op
	for i := range op.Slice.Endpoints {
		out = append(out, changedSlice(op.Slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = slices.Delete(s.Endpoints, i, i+1) }))
	}
	for i := range op.Slice.Ports {
		out = append(out, changedSlice(op.Slice, func(s *discoveryv1.EndpointSlice) { s.Ports = slices.Delete(s.Ports, i, i+1) }))
	}
	for i, e := range op.Slice.Endpoints {
		if e.Hints != nil {
			out = append(out, changedSlice(op.Slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints[i].Hints = nil }))
		}
	}
	return out
}

func changedSlice(from *discoveryv1.EndpointSlice, change func(*discoveryv1.EndpointSlice)) Op {
	slice := from.DeepCopy()
	change(slice)
	return Op{Slice: slice}
}

func simplifiedService(from *corev1.Service) []Op {
	var out []Op
	try := func(worth bool, change func(*corev1.Service)) {
		if !worth {
			return
		}
		service := from.DeepCopy()
		change(service)
		out = append(out, Op{Service: service})
	}
	if spec := from.Spec; len(spec.Ports) > 1 {
		for i := range spec.Ports {
			try(true, func(s *corev1.Service) { s.Spec.Ports = slices.Delete(s.Spec.Ports, i, i+1) })
		}
	}
	for i := range from.Spec.ExternalIPs {
		try(len(from.Spec.ExternalIPs) > 1 || from.Spec.ExternalTrafficPolicy == "" || from.Spec.Type != corev1.ServiceTypeClusterIP,
			func(s *corev1.Service) { s.Spec.ExternalIPs = slices.Delete(s.Spec.ExternalIPs, i, i+1) })
	}
	for i := range from.Status.LoadBalancer.Ingress {
		try(true, func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = slices.Delete(s.Status.LoadBalancer.Ingress, i, i+1)
		})
	}
	for i := range from.Spec.LoadBalancerSourceRanges {
		try(true, func(s *corev1.Service) {
			s.Spec.LoadBalancerSourceRanges = slices.Delete(s.Spec.LoadBalancerSourceRanges, i, i+1)
		})
	}
	try(from.Spec.SessionAffinity != "", func(s *corev1.Service) { s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = "", nil })
	try(from.Spec.InternalTrafficPolicy != nil, func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = nil })
	try(from.Spec.ExternalTrafficPolicy != "", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = "", 0 })
	try(from.Spec.PublishNotReadyAddresses, func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = false })
	try(from.Spec.Type != corev1.ServiceTypeClusterIP && from.Spec.ExternalName == "", plain)
	return out
}

// plain makes a Service one of type ClusterIP, without what that type must not have.
func plain(s *corev1.Service) {
	s.Spec.Type, s.Status = corev1.ServiceTypeClusterIP, corev1.ServiceStatus{}
	s.Spec.LoadBalancerSourceRanges, s.Spec.AllocateLoadBalancerNodePorts, s.Spec.HealthCheckNodePort = nil, nil, 0
	if len(s.Spec.ExternalIPs) == 0 {
		s.Spec.ExternalTrafficPolicy = ""
	}
	for i := range s.Spec.Ports {
		s.Spec.Ports[i].NodePort = 0
	}
}
