package differential

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// podsOfNode is how many pods of each node a Service may have.
const podsOfNode = 4

// The zone of the node of the two proxies, and another one.
const (
	Zone1 = "zone-1"
	zone2 = "zone-2"
)

// rollPods decides anew what pods there are behind a Service and how they are. All its slices say the same of one address,
// because kube-proxy takes any of them else.
func (g *generator) rollPods(s *service) {
	s.pods = map[corev1.IPFamily][]discoveryv1.Endpoint{}
	hints := pick(g, noHints, noHints, zoneHints, nodeHints)
	onNode := pick(g, 50, 50, 0, 100)
	for _, family := range families() {
		for i := range 2 * podsOfNode {
			node := 1 + i%2
			if onNode == 0 && node == 1 || onNode == 100 && node == 2 {
				continue
			}
			s.pods[family] = append(s.pods[family], g.pod(podIP(node, i/2, family), node, hints))
		}
		if g.chance(20) {
			s.pods[family] = append(s.pods[family], g.pod(nodeIP(1, family), 1, hints))
		}
		for i := range s.pods[family] {
			if s.kind.published {
				s.pods[family][i].Conditions.Ready = ptr.To(true)
			}
		}
	}
}

// hinting says what hints endpoints carry.
type hinting int

const (
	noHints hinting = iota
	zoneHints
	nodeHints
)

func (g *generator) pod(address string, node int, hints hinting) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{address}, Conditions: g.conditions(), NodeName: ptr.To(fmt.Sprintf("node-%d", node))}
	if g.chance(5) {
		e.NodeName = nil
	}
	e.Zone = ptr.To(pick(g, Zone1, zone2))
	if g.chance(5) {
		return e // one without hints makes all of them void
	}
	switch hints {
	case zoneHints:
		e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: *e.Zone}}}
	case nodeHints:
		e.Hints = &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: fmt.Sprintf("node-%d", node)}}}
		if g.chance(50) {
			e.Hints.ForZones = []discoveryv1.ForZone{{Name: *e.Zone}}
		}
	}
	return e
}

func (g *generator) conditions() discoveryv1.EndpointConditions {
	set := func(ready, serving, terminating bool) discoveryv1.EndpointConditions {
		return discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
	}
	switch n := g.IntN(100); {
	case n < 50:
		return set(true, true, false)
	case n < 55:
		return discoveryv1.EndpointConditions{}
	case n < 65:
		return set(false, false, false)
	case n < 85:
		return set(false, true, true)
	case n < 90:
		return set(false, false, true)
	case n < 95:
		return set(true, false, false) // published though not ready
	}
	return set(true, true, true) // published though terminating
}

// addSlice gives a Service another slice.
func (g *generator) addSlice(s *service) Op {
	family := pick(g, s.kind.families...)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%d", serviceName(s.number), s.sliceCount), Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(s.number)},
		},
		AddressType: discoveryv1.AddressType(family),
	}
	if g.chance(4) {
		slice.Labels[corev1.IsHeadlessService] = ""
	}
	for i, port := range s.kind.ports {
		g.slicePort(slice, i, port)
	}
	s.slices[s.sliceCount] = slice
	s.sliceCount++
	g.fill(s, slice)
	return Op{Slice: slice}
}

// slicePort adds a port under the names that the Service may have for it, most of the time.
func (g *generator) slicePort(slice *discoveryv1.EndpointSlice, i int, port servicePort) {
	if g.chance(8) {
		return
	}
	number := ptr.To(pick[int32](g, 8080, 8080, 8081, 9090) + int32(10*i))
	if g.chance(3) {
		number = nil
	}
	names := []string{portName(i)}
	if i == 0 {
		names = append(names, "")
	}
	for _, name := range names {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: ptr.To(name), Protocol: ptr.To(port.protocol), Port: number})
	}
}

// fill chooses the endpoints of a slice.
func (g *generator) fill(s *service, slice *discoveryv1.EndpointSlice) {
	slice.Endpoints = nil
	for _, pod := range s.pods[corev1.IPFamily(slice.AddressType)] {
		if g.chance(35) {
			slice.Endpoints = append(slice.Endpoints, pod)
		}
	}
}

// rewriteSlices fills all slices again.
func (g *generator) rewriteSlices(s *service) []Op {
	var ops []Op
	for _, number := range s.sliceNumbers() {
		slice := s.slices[number].DeepCopy()
		g.fill(s, slice)
		s.slices[number] = slice
		ops = append(ops, Op{Slice: slice})
	}
	return ops
}

func (g *generator) dropSlice(s *service) []Op {
	numbers := s.sliceNumbers()
	if len(numbers) == 0 {
		return nil
	}
	number := pick(g, numbers...)
	dropped := s.slices[number]
	delete(s.slices, number)
	return []Op{{Slice: dropped, Delete: true}}
}
