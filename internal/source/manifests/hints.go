package manifests

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/internal/service"
)

// addHints gives endpoints the topology hints that the EndpointSlice controller of a cluster would give them for the
// spec.trafficDistribution of their Service (KEP-4444, KEP-3015): here is no such controller, and a proxy looks at hints
// only. An endpoint is for its own zone and, under PreferSameNode, for its own node as well; the zone is the one that the
// endpoint names, else, as in a cluster, that of its Node, where the files have it. Readiness does not matter, since hints
// count for endpoints that are to be used only.
//
// A slice that has a hint stays as it is: who writes some means them, and a partial set has a meaning of its own.
func (w *world) addHints() {
	for name, slice := range w.slices {
		owner := w.services[service.Name{Namespace: name.Namespace, Name: slice.Service}]
		switch owner.Policy.Distribution {
		case corev1.ServiceTrafficDistributionPreferSameNode:
			hint(slice.Endpoints, w.zones, true)
		case corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferClose:
			hint(slice.Endpoints, w.zones, false)
		}
	}
}

// hint changes the endpoints in place: they were made for this world and nobody else has seen them yet.
func hint(endpoints []service.Endpoint, zones map[string]string, nodes bool) {
	if slices.ContainsFunc(endpoints, func(e service.Endpoint) bool { return len(e.ForZones)+len(e.ForNodes) > 0 }) {
		return
	}
	for i := range endpoints {
		e := &endpoints[i]
		if zone := cmp.Or(e.Zone, zones[e.Node]); zone != "" {
			e.ForZones = []string{zone}
		}
		if nodes && e.Node != "" {
			e.ForNodes = []string{e.Node}
		}
	}
}
