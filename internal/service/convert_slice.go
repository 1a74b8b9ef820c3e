package service

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs-proxy/internal/dataplane"
)

// maxEndpoints is how many endpoints the API lets a slice have.
const maxEndpoints = 1000

// FromSlice returns what the proxy needs of an EndpointSlice, and a Problem for everything in it that cannot be used.
// It returns false for a slice that is of no use here: one of a headless Service, of no Service, or of host names.
func FromSlice(in *discoveryv1.EndpointSlice) (Slice, bool, []Problem) {
	if _, headless := in.Labels[corev1.IsHeadlessService]; headless {
		return Slice{}, false, nil
	}
	f := findingsOf("EndpointSlice", in.Namespace, in.Name)
	owner := in.Labels[discoveryv1.LabelServiceName]
	if owner == "" {
		f.add("metadata.labels["+discoveryv1.LabelServiceName+"]", "", "the slice belongs to no Service; set the label to the Service's name")
		return Slice{}, false, f.problems
	}
	family, ok := f.sliceFamily(in)
	if !ok {
		return Slice{}, false, f.problems
	}
	out := Slice{
		Name:      Name{shared(in.Namespace), in.Name},
		Service:   owner,
		Ports:     f.slicePorts(in.Ports),
		Endpoints: f.endpoints(in, family),
		Triggered: f.triggered(in.Annotations),
	}
	if len(in.Endpoints) > 0 && len(in.Ports) == 0 {
		f.add("ports", "", "endpoints without a port, so nothing can be sent to them; name the ports, or check the Service's named targetPort")
	}
	return out, true, f.problems
}

func (f *findings) sliceFamily(in *discoveryv1.EndpointSlice) (dataplane.Family, bool) {
	switch in.AddressType {
	case discoveryv1.AddressTypeIPv4:
		return dataplane.IPv4, true
	case discoveryv1.AddressTypeIPv6:
		return dataplane.IPv6, true
	}
	f.add("addressType", in.AddressType, "not an address family, and names are not resolved here; use IPv4 or IPv6")
	return 0, false
}

func (f *findings) slicePorts(in []discoveryv1.EndpointPort) []SlicePort {
	var out []SlicePort
	seen := map[portName]bool{}
	for i := range in {
		field := fmt.Sprintf("ports[%d]", i)
		port, ok := f.slicePort(field, &in[i])
		if !ok {
			continue
		}
		if key := (portName{port.Protocol, port.Name}); seen[key] {
			f.add(field+".name", port.Name, "an earlier port has the same name and protocol, and is the one used; give each port its own name")
			continue
		} else {
			seen[key] = true
		}
		out = append(out, port)
	}
	return out
}

func (f *findings) slicePort(field string, in *discoveryv1.EndpointPort) (SlicePort, bool) {
	var out SlicePort
	if in.Name != nil {
		out.Name = shared(*in.Name)
	}
	var protocol corev1.Protocol
	if in.Protocol != nil {
		protocol = *in.Protocol
	}
	if in.Port == nil {
		f.add(field+".port", "", "no number means all ports, which a Service cannot use; set the number")
		return out, false
	}
	var protocolOK, numberOK bool
	out.Protocol, protocolOK = f.protocol(field+".protocol", protocol)
	out.Port, numberOK = f.port(field+".port", *in.Port)
	return out, protocolOK && numberOK
}

func (f *findings) endpoints(in *discoveryv1.EndpointSlice, family dataplane.Family) []Endpoint {
	if len(in.Endpoints) > maxEndpoints {
		f.add("endpoints", len(in.Endpoints), "more than the %d that the API allows, and used nevertheless; split the slice", maxEndpoints)
	}
	out := make([]Endpoint, 0, len(in.Endpoints))
	for i := range in.Endpoints {
		addr, ok := f.endpointAddress(i, in.Endpoints[i].Addresses, family)
		if !ok {
			continue
		}
		one := endpoint(addr, &in.Endpoints[i])
		if len(out) > 0 {
			one.shareHints(out[len(out)-1])
		}
		out = append(out, one)
	}
	return out
}

// endpointAddress returns an endpoint's address. The API gives a meaning to the first only.
func (f *findings) endpointAddress(number int, values []string, family dataplane.Family) (netip.Addr, bool) {
	if len(values) > 0 {
		if addr, err := netip.ParseAddr(values[0]); err == nil && unusable(addr, 0) == "" && dataplane.FamilyOf(addr) == family {
			return addr, true // as nearly always, without a name made for the field
		}
	}
	field := fmt.Sprintf("endpoints[%d]", number)
	if len(values) == 0 {
		f.add(field+".addresses", "", "an endpoint without an address; add one")
		return netip.Addr{}, false
	}
	addr, ok := f.address(field+".addresses[0]", values[0], 0)
	if ok && dataplane.FamilyOf(addr) != family {
		f.add(field+".addresses[0]", values[0], "not an %s address, as the slice's addressType promises; put it into a slice of its own", family)
		return netip.Addr{}, false
	}
	return addr, ok
}

// endpoint converts all but the address. Conditions that are not set have the meaning that the API documents: ready,
// serving and not terminating.
func endpoint(addr netip.Addr, in *discoveryv1.Endpoint) Endpoint {
	out := Endpoint{
		Addr:        addr,
		Ready:       in.Conditions.Ready == nil || *in.Conditions.Ready,
		Serving:     in.Conditions.Serving == nil || *in.Conditions.Serving,
		Terminating: in.Conditions.Terminating != nil && *in.Conditions.Terminating,
	}
	if in.NodeName != nil {
		out.Node = shared(*in.NodeName)
	}
	if in.Zone != nil {
		out.Zone = shared(*in.Zone)
	}
	if in.Hints != nil {
		for _, zone := range in.Hints.ForZones {
			out.ForZones = append(out.ForZones, shared(zone.Name))
		}
		for _, node := range in.Hints.ForNodes {
			out.ForNodes = append(out.ForNodes, shared(node.Name))
		}
	}
	return out
}

// shareHints makes equal hints of two endpoints one list in memory.
func (e *Endpoint) shareHints(with Endpoint) {
	if slices.Equal(e.ForZones, with.ForZones) {
		e.ForZones = with.ForZones
	}
	if slices.Equal(e.ForNodes, with.ForNodes) {
		e.ForNodes = with.ForNodes
	}
}

// shared returns the string, as the same bytes in memory for all equal ones: the names of nodes, zones, namespaces and
// ports come with every object, of which a cluster has many.
func shared(s string) string { return unique.Make(s).Value() }

// triggered returns when the change that led to the slice's current state happened; zero when nobody says.
func (f *findings) triggered(annotations map[string]string) time.Time {
	value := annotations[corev1.EndpointsLastChangeTriggerTime]
	if value == "" {
		return time.Time{}
	}
	when, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		f.add("metadata.annotations["+corev1.EndpointsLastChangeTriggerTime+"]", value, "not a time, so programming latency is not measured; write RFC 3339")
		return time.Time{}
	}
	return when
}
