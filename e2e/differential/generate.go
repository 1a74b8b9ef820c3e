package differential

import (
	"fmt"
	"math/rand/v2"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Size says how large a random case is.
type Size struct {
	Objects int // Services and EndpointSlices at the start
	Changes int
	Steps   int // in which the changes are made
}

// Generate makes a random case. The same seed and size give the same case. Every write of it is one that the API server
// accepts, and no two Services want the same virtual server.
func Generate(seed uint64, size Size) (Case, error) {
	if size.Objects < 1 || size.Changes < 0 || size.Steps < 1 || size.Objects+size.Changes > mostServices {
		return Case{}, fmt.Errorf("a case of %+v cannot be made: want at least 1 object and step, and at most %d objects and changes", size, mostServices)
	}
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), services: map[int]*service{}}
	c := Case{Settings: g.settings()}
	var start []Op
	for len(start) < size.Objects {
		start = append(start, g.create()...)
	}
	c.Steps = append(c.Steps, start)
	for step := range size.Steps {
		var ops []Op
		for range size.Changes*(step+1)/size.Steps - size.Changes*step/size.Steps {
			ops = append(ops, g.change()...)
		}
		if len(ops) > 0 {
			c.Steps = append(c.Steps, ops)
		}
	}
	return c, nil
}

// generator makes one case.
type generator struct {
	*rand.Rand
	services map[int]*service // those that exist, by number
	made     int              // how many there ever were
}

// service is a Service that exists in the case so far.
type service struct {
	number int
	kind   serviceKind
	object *corev1.Service
	slices map[int]*discoveryv1.EndpointSlice
	// pods are the endpoints that its slices may list, of all families.
	pods map[corev1.IPFamily][]discoveryv1.Endpoint
	// sliceCount counts the slices that it ever had.
	sliceCount int
}

// chance is true in so many of a hundred cases.
func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

func (g *generator) settings() Settings {
	return Settings{
		Scheduler: pick(g, "", "rr", "lc", "sh", "mh", "wrr"),
		NodePortAddresses: pick(g, nil, nil, []string{"primary"}, []string{"172.18.0.0/16", "fd00:172:18::/64"},
			[]string{"10.244.1.0/24"}, []string{"192.0.2.0/24", "::/0"}),
	}
}

// create makes a Service with its slices.
func (g *generator) create() []Op {
	s := &service{number: g.made, kind: g.kind(g.made), slices: map[int]*discoveryv1.EndpointSlice{}}
	g.made++
	g.services[s.number] = s
	s.object = g.service(s)
	ops := []Op{{Service: s.object}}
	g.rollPods(s)
	for range g.IntN(4) {
		ops = append(ops, g.addSlice(s))
	}
	if g.chance(30) {
		slices.Reverse(ops) // slices may come before their Service
	}
	return ops
}

// change makes one change, of one or of several objects.
func (g *generator) change() []Op {
	if len(g.services) == 0 || g.chance(10) {
		return g.create()
	}
	s := g.any()
	switch n := g.IntN(100); {
	case n < 35:
		s.object = g.service(s)
		return []Op{{Service: s.object}}
	case n < 60:
		g.rollPods(s)
		return g.rewriteSlices(s)
	case n < 70:
		return []Op{g.addSlice(s)}
	case n < 80:
		return g.dropSlice(s)
	case n < 90:
		return g.drop(s)
	}
	// The same name again, at once.
	dropped := Op{Service: s.object, Delete: true}
	published := s.kind.published // its slices stay
	s.kind = g.kind(s.number)
	s.kind.published = published
	s.object = g.service(s)
	return []Op{dropped, {Service: s.object}}
}

// any chooses a Service.
func (g *generator) any() *service {
	numbers := make([]int, 0, len(g.services))
	for number := range g.services {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	return g.services[pick(g, numbers...)]
}

// drop deletes a Service with its slices.
func (g *generator) drop(s *service) []Op {
	delete(g.services, s.number)
	ops := []Op{{Service: s.object, Delete: true}}
	for _, number := range s.sliceNumbers() {
		ops = append(ops, Op{Slice: s.slices[number], Delete: true})
	}
	if g.chance(50) {
		slices.Reverse(ops)
	}
	return ops
}

func (s *service) sliceNumbers() []int {
	numbers := make([]int, 0, len(s.slices))
	for number := range s.slices {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	return numbers
}
