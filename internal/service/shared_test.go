package service

import (
	"slices"
	"strings"
	"testing"
	"unsafe"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// Objects that come from the API one by one share what they have in common, and nothing of an object is kept by name.
func TestNamesAreSharedBetweenObjects(t *testing.T) {
	build := func() Slice {
		node, zone := strings.Clone("node-1"), strings.Clone("zone-a")
		in := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
		in.Namespace, in.Name = strings.Clone("default"), "web-1"
		in.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
		for _, addr := range []string{"10.1.0.1", "10.1.0.2"} {
			in.Endpoints = append(in.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr}, NodeName: &node, Zone: &zone,
				Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: strings.Clone(zone)}}}})
		}
		out, _, _ := FromSlice(in)
		return out
	}
	one, two := build(), build()
	if !one.Equal(two) || len(one.Endpoints) != 2 {
		t.Fatalf("%+v and %+v", one, two)
	}
	same := func(a, b string) bool { return a == b && a != "" && unsafe.StringData(a) == unsafe.StringData(b) }
	a, b := one.Endpoints[0], two.Endpoints[1]
	if !same(a.Node, b.Node) || !same(a.Zone, b.Zone) || !same(a.ForZones[0], b.ForZones[0]) || !same(one.Name.Namespace, two.Name.Namespace) {
		t.Error("equal names are kept twice")
	}
	if first, second := one.Endpoints[0].ForZones, one.Endpoints[1].ForZones; unsafe.SliceData(first) != unsafe.SliceData(second) {
		t.Error("equal hints of one slice are kept twice")
	}
	if before := slices.Clone(one.Endpoints[0].ForZones); !slices.Equal(before, []string{"zone-a"}) {
		t.Errorf("hints %v", before)
	}
}
