//lint:file-ignore SA1019 the deprecated Endpoints are read on purpose: manifests of old still hold them

package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs-proxy/internal/dataplane"
)

// leaderAnnotation marks Endpoints that are a lock and no endpoints.
const leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"

// FromEndpoints returns the slices that the cluster's mirroring controller would make of a legacy Endpoints object, one
// for each set of ports and each family, and a Problem for everything in it that cannot be used. Whether the Service
// has a selector does not matter here, since nothing else makes slices where there is no cluster.
//
// Mirrored slices are named "NAME:INDEX:FAMILY": a name that no object of the API can have.
func FromEndpoints(in *corev1.Endpoints) ([]Slice, []Problem) {
	_, lock := in.Annotations[leaderAnnotation]
	if lock || in.Labels[discoveryv1.LabelSkipMirror] == "true" {
		return nil, nil
	}
	m := mirror{findings: findingsOf("Endpoints", in.Namespace, in.Name), byPorts: map[string]*mirrored{}}
	for i := range in.Subsets {
		m.subset(fmt.Sprintf("subsets[%d]", i), &in.Subsets[i])
	}
	return m.slices(in), m.problems
}

// mirror gathers the endpoints of an Endpoints object by the ports they share: subsets with equal ports are one.
type mirror struct {
	*findings
	byPorts map[string]*mirrored
	order   []*mirrored
}

// mirrored are the endpoints that share a set of ports.
type mirrored struct {
	ports     []SlicePort
	endpoints map[dataplane.Family][]Endpoint
	seen      map[netip.Addr]bool
}

func (m *mirror) subset(field string, in *corev1.EndpointSubset) {
	ports := make([]discoveryv1.EndpointPort, len(in.Ports))
	for i := range in.Ports {
		ports[i] = discoveryv1.EndpointPort{Name: &in.Ports[i].Name, Protocol: &in.Ports[i].Protocol, Port: &in.Ports[i].Port}
	}
	inner := findings{object: m.object}
	group := m.group(inner.slicePorts(ports))
	for _, problem := range inner.problems {
		problem.Field = field + "." + problem.Field
		m.problems = append(m.problems, problem)
	}
	total := len(in.Addresses) + len(in.NotReadyAddresses)
	if total > 0 && len(in.Ports) == 0 {
		m.add(field+".ports", "", "addresses without a port, so nothing can be sent to them; name the ports")
	}
	if total > maxEndpoints {
		m.add(field, total, "more than the %d addresses that a cluster would mirror, and used nevertheless; use EndpointSlices", maxEndpoints)
	}
	m.addresses(group, field+".addresses", in.Addresses, true)
	m.addresses(group, field+".notReadyAddresses", in.NotReadyAddresses, false)
}

// group returns the endpoints with these ports, in whatever order the ports are listed.
func (m *mirror) group(ports []SlicePort) *mirrored {
	var key []string
	for _, port := range ports {
		key = append(key, fmt.Sprintf("%q %s %d", port.Name, port.Protocol, port.Port))
	}
	slices.Sort(key)
	id := strings.Join(key, ",")
	if m.byPorts[id] == nil {
		m.byPorts[id] = &mirrored{ports: ports, endpoints: map[dataplane.Family][]Endpoint{}, seen: map[netip.Addr]bool{}}
		m.order = append(m.order, m.byPorts[id])
	}
	return m.byPorts[id]
}

func (m *mirror) addresses(group *mirrored, field string, in []corev1.EndpointAddress, ready bool) {
	for i, address := range in {
		addr, ok := m.address(fmt.Sprintf("%s[%d].ip", field, i), address.IP, 0)
		if !ok || group.seen[addr] {
			continue
		}
		group.seen[addr] = true
		out := Endpoint{Addr: addr, Ready: ready, Serving: true}
		if address.NodeName != nil {
			out.Node = *address.NodeName
		}
		family := dataplane.FamilyOf(addr)
		group.endpoints[family] = append(group.endpoints[family], out)
	}
}

func (m *mirror) slices(in *corev1.Endpoints) []Slice {
	var out []Slice
	triggered := m.triggered(in.Annotations)
	for i, group := range m.order {
		for _, family := range dataplane.Families() {
			if len(group.endpoints[family]) == 0 {
				continue
			}
			out = append(out, Slice{
				Name:      Name{in.Namespace, fmt.Sprintf("%s:%d:%s", in.Name, i, strings.ToLower(family.String()))},
				Service:   in.Name,
				Ports:     group.ports,
				Endpoints: group.endpoints[family],
				Triggered: triggered,
			})
		}
	}
	return out
}
