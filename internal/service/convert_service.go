package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/internal/dataplane"
)

// serviceProxyName is the label by which a Service chooses another proxy (KEP-2447).
const serviceProxyName = "service.kubernetes.io/service-proxy-name"

// The bounds of ClientIP affinity, and the timeout of a Service that asks for it without one: the API's default.
const (
	minAffinity     = 1 * time.Second
	maxAffinity     = 86400 * time.Second
	defaultAffinity = 10800 * time.Second
)

// FromService returns what the proxy needs of a Service that the API server delivered, and a Problem for everything in
// it that cannot be used. It returns false for a Service that is not served here: of type ExternalName, headless,
// without a ClusterIP, or labelled for another proxy.
func FromService(in *corev1.Service) (Service, bool, []Problem) {
	if in.Spec.ClusterIP == "" && len(in.Spec.ClusterIPs) == 0 || !servedHere(in) {
		return Service{}, false, nil
	}
	return fromService(in)
}

// FromUnallocatedService is FromService for a Service that no API server has seen, and that may therefore lack a
// ClusterIP: it is served on its other addresses, and a Problem says so. Nor has anybody checked the fields that others
// read in a cluster, so they are checked here.
func FromUnallocatedService(in *corev1.Service) (Service, bool, []Problem) {
	if !servedHere(in) {
		return Service{}, false, nil
	}
	out, served, problems := fromService(in)
	f := findingsOf("Service", in.Namespace, in.Name)
	f.distribution(out.Policy.Distribution)
	if in.Spec.ClusterIP == "" && len(in.Spec.ClusterIPs) == 0 {
		reach := "it is served on its other addresses only"
		if len(out.VIPs.External)+len(out.VIPs.LoadBalancer) == 0 && !slices.ContainsFunc(out.Ports, hasNodePort) {
			reach = "it has no other address either and cannot be reached"
		}
		f.add("spec.clusterIP", "", "nothing here assigns a ClusterIP, and %s; write a free address of the cluster's service range, or None if it is headless", reach)
	}
	return out, served, append(f.problems, problems...)
}

// distribution notes a spec.trafficDistribution that the API does not have. In a cluster the API server refuses it, and
// the field is for the EndpointSlice controller: one that came from there is of no concern here.
func (f *findings) distribution(value string) {
	switch value {
	case "", corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode, corev1.ServiceTrafficDistributionPreferClose:
		return
	}
	f.add("spec.trafficDistribution", value, "unknown value, so it has no effect; use PreferSameZone or PreferSameNode, or remove it")
}

func hasNodePort(p Port) bool { return p.NodePort != 0 }

// servedHere reports whether a Service is one for this proxy, its ClusterIP being there or not.
func servedHere(in *corev1.Service) bool {
	_, elsewhere := in.Labels[serviceProxyName]
	headless := in.Spec.ClusterIP == corev1.ClusterIPNone || slices.Contains(in.Spec.ClusterIPs, corev1.ClusterIPNone)
	return !elsewhere && !headless && in.Spec.Type != corev1.ServiceTypeExternalName
}

func fromService(in *corev1.Service) (Service, bool, []Problem) {
	f := findingsOf("Service", in.Namespace, in.Name)
	out := Service{
		Name:    Name{shared(in.Namespace), in.Name},
		Created: in.CreationTimestamp.Time,
		Ports:   f.servicePorts(in),
		Policy:  f.policy(in),
	}
	out.VIPs.Cluster = f.clusterIPs(in)
	out.VIPs.External = f.externalIPs(in)
	out.VIPs.LoadBalancer = f.loadBalancerIPs(in)
	var unreadable bool
	out.Policy.SourceRanges, unreadable = f.sourceRanges(in)
	if unreadable {
		out.VIPs.LoadBalancer = f.guarded(out.VIPs.LoadBalancer, out.Policy.SourceRanges)
	}
	out.Families = f.serviceFamilies(in, out.VIPs)
	out.VIPs.External = f.ofFamilies(out.VIPs.External, out.Families)
	out.VIPs.LoadBalancer = slices.DeleteFunc(out.VIPs.LoadBalancer, func(addr netip.Addr) bool {
		return !slices.Contains(out.Families, dataplane.FamilyOf(addr))
	})
	return out, true, f.problems
}

func (f *findings) clusterIPs(in *corev1.Service) []netip.Addr {
	var out []netip.Addr
	if in.Spec.ClusterIP != "" && !slices.Contains(in.Spec.ClusterIPs, in.Spec.ClusterIP) {
		if addr, ok := f.address("spec.clusterIP", in.Spec.ClusterIP, linkLocalAllowed); ok {
			out = append(out, addr)
		}
	}
	for i, value := range in.Spec.ClusterIPs {
		if addr, ok := f.address(fmt.Sprintf("spec.clusterIPs[%d]", i), value, linkLocalAllowed); ok {
			out = appendNew(out, addr)
		}
	}
	return out
}

func (f *findings) externalIPs(in *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for i, value := range in.Spec.ExternalIPs {
		if addr, ok := f.address(fmt.Sprintf("spec.externalIPs[%d]", i), value, 0); ok {
			out = appendNew(out, addr)
		}
	}
	return out
}

// loadBalancerIPs returns the ingress addresses whose traffic reaches the node unchanged. A load balancer known by its
// host name, or one that proxies, sends the node nothing that is addressed to itself.
func (f *findings) loadBalancerIPs(in *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for i, ingress := range in.Status.LoadBalancer.Ingress {
		field := fmt.Sprintf("status.loadBalancer.ingress[%d]", i)
		mode := corev1.LoadBalancerIPModeVIP
		if ingress.IPMode != nil {
			mode = *ingress.IPMode
		}
		switch {
		case ingress.IP == "" || mode == corev1.LoadBalancerIPModeProxy:
			continue
		case mode != corev1.LoadBalancerIPModeVIP:
			f.add(field+".ipMode", mode, "unknown mode, and the address is left out; the load balancer's controller should set VIP or Proxy")
			continue
		}
		if addr, ok := f.address(field+".ip", ingress.IP, linkLocalAllowed); ok {
			out = appendNew(out, addr)
		}
	}
	return out
}

// sourceRanges returns the ranges that may use the load-balancer addresses, and whether some could not be read.
//
// Only the field counts, as for kube-proxy. The annotation of the same purpose is addressed to cloud controllers, and a
// cluster may rely on nodes that let pass what such a load balancer sends from its own addresses.
func (f *findings) sourceRanges(in *corev1.Service) (ranges []netip.Prefix, unreadable bool) {
	for i, value := range in.Spec.LoadBalancerSourceRanges {
		if strings.TrimSpace(value) == "" {
			continue
		}
		prefix, ok := f.prefix(fmt.Sprintf("spec.loadBalancerSourceRanges[%d]", i), value)
		if !ok {
			unreadable = true
			continue
		}
		ranges = appendNew(ranges, prefix)
	}
	value, annotated := in.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	if annotated && len(in.Spec.LoadBalancerSourceRanges) == 0 && len(in.Status.LoadBalancer.Ingress) > 0 {
		f.add("metadata.annotations["+corev1.AnnotationLoadBalancerSourceRangesKey+"]", value,
			"read by cloud load balancers only, and not by the nodes; set spec.loadBalancerSourceRanges to have the nodes filter too")
	}
	return ranges, unreadable
}

// guarded leaves out the addresses of a family that has no readable source range while others could not be read:
// without any range everybody would be let in, which is what nobody asked for.
func (f *findings) guarded(addrs []netip.Addr, ranges []netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, addr := range addrs {
		if slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Addr().Is4() == addr.Is4() }) {
			out = append(out, addr)
			continue
		}
		f.add("status.loadBalancer.ingress", addr, "left out, because no source range of its family could be read; correct spec.loadBalancerSourceRanges")
	}
	return out
}

// serviceFamilies returns the families of a Service: of its ClusterIPs; failing these, as the object says; failing
// that, of its other addresses; failing all, both.
func (f *findings) serviceFamilies(in *corev1.Service, vips VIPs) []dataplane.Family {
	if found := familiesOf(vips.Cluster); len(found) > 0 {
		f.unservedFamilies(in, found)
		return found
	}
	var found []dataplane.Family
	for i, value := range in.Spec.IPFamilies {
		switch value {
		case corev1.IPv4Protocol:
			found = appendNew(found, dataplane.IPv4)
		case corev1.IPv6Protocol:
			found = appendNew(found, dataplane.IPv6)
		default:
			f.add(fmt.Sprintf("spec.ipFamilies[%d]", i), value, "unknown family; use IPv4 or IPv6")
		}
	}
	if len(found) == 0 {
		found = familiesOf(vips.External, vips.LoadBalancer)
	}
	if len(found) == 0 {
		found = dataplane.Families()
	}
	slices.Sort(found)
	return found
}

// unservedFamilies notes the families that the Service asks for without having a ClusterIP of them, unless one of its
// ClusterIPs could not be read, which says enough.
func (f *findings) unservedFamilies(in *corev1.Service, served []dataplane.Family) {
	if slices.ContainsFunc(f.problems, func(p Problem) bool { return strings.HasPrefix(p.Field, "spec.clusterIP") }) {
		return
	}
	for i, value := range in.Spec.IPFamilies {
		if slices.ContainsFunc(served, func(family dataplane.Family) bool { return family.String() == string(value) }) {
			continue
		}
		f.add(fmt.Sprintf("spec.ipFamilies[%d]", i), value, "the Service has no ClusterIP of that family, so it is not served over it; add one to spec.clusterIPs, or remove the family")
	}
}

// ofFamilies leaves out the external addresses of families that the Service is not in: it has no endpoints for them.
func (f *findings) ofFamilies(addrs []netip.Addr, families []dataplane.Family) []netip.Addr {
	var out []netip.Addr
	for _, addr := range addrs {
		if slices.Contains(families, dataplane.FamilyOf(addr)) {
			out = append(out, addr)
			continue
		}
		f.add("spec.externalIPs", addr, "the Service has no %s ClusterIP; make it dual-stack (spec.ipFamilyPolicy) or remove the address", dataplane.FamilyOf(addr))
	}
	return out
}
