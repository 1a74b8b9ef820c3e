//lint:file-ignore SA1019 the deprecated Endpoints are read on purpose: manifests of old still hold them

package service

import (
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// dice builds objects at random out of values that are right, nearly right and wrong.
type dice struct{ *rand.Rand }

func pick[T any](d dice, values ...T) T { return values[d.IntN(len(values))] }

func many[T any](d dice, most int, one func() T) []T {
	var out []T
	for range d.IntN(most + 1) {
		out = append(out, one())
	}
	return out
}

func maybe[T any](d dice, one func() T) *T {
	if d.IntN(3) == 0 {
		return nil
	}
	value := one()
	return &value
}

func (d dice) address() string {
	raw := make([]byte, d.IntN(6))
	for i := range raw {
		raw[i] = byte(d.Uint32())
	}
	return pick(d, "10.0.0.1", "10.0.0.2", "192.0.2.1", "fd00::1", "2001:db8::1", "", "None", "010.0.0.1", "::ffff:10.0.0.1",
		"fe80::1", "fe80::1%eth0", "0.0.0.0", "::", "127.0.0.1", "::1", "224.0.0.1", "ff02::1", "255.255.255.255", " 10.0.0.1", "host", string(raw))
}

func (d dice) prefix() string {
	return pick(d, d.address(), d.address()+pick(d, "/0", "/8", "/24", "/33", "/64", "/129", "/-1", "/x", "/08"), "")
}

func (d dice) number() int32 {
	return pick(d, int32(d.Uint32()), int32(d.IntN(4)), 80, 30007, 65535, 65536, 0, -1)
}

func (d dice) protocol() corev1.Protocol {
	return pick[corev1.Protocol](d, "TCP", "UDP", "SCTP", "", "tcp", "ICMP")
}

func (d dice) service() *corev1.Service {
	var in corev1.Service
	s := &in.Spec
	s.Type = pick[corev1.ServiceType](d, "ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "", "x")
	s.ClusterIP, s.ClusterIPs, s.ExternalIPs = d.address(), many(d, 3, d.address), many(d, 3, d.address)
	s.IPFamilies = many(d, 2, func() corev1.IPFamily { return pick[corev1.IPFamily](d, "IPv4", "IPv6", "IPX") })
	s.Ports = many(d, 4, func() corev1.ServicePort {
		return corev1.ServicePort{Name: pick(d, "", "a", "b"), Protocol: d.protocol(), Port: d.number(), NodePort: d.number()}
	})
	s.SessionAffinity = pick[corev1.ServiceAffinity](d, "None", "ClientIP", "", "x")
	s.SessionAffinityConfig = maybe(d, func() corev1.SessionAffinityConfig {
		return corev1.SessionAffinityConfig{ClientIP: maybe(d, func() corev1.ClientIPConfig {
			return corev1.ClientIPConfig{TimeoutSeconds: maybe(d, d.number)}
		})}
	})
	s.ExternalTrafficPolicy = pick[corev1.ServiceExternalTrafficPolicy](d, "Local", "Cluster", "", "x")
	s.InternalTrafficPolicy = maybe(d, func() corev1.ServiceInternalTrafficPolicy { return "Local" })
	s.HealthCheckNodePort = d.number()
	s.LoadBalancerSourceRanges = many(d, 3, d.prefix)
	in.Status.LoadBalancer.Ingress = many(d, 3, func() corev1.LoadBalancerIngress {
		return corev1.LoadBalancerIngress{IP: d.address(), IPMode: maybe(d, func() corev1.LoadBalancerIPMode {
			return pick[corev1.LoadBalancerIPMode](d, "VIP", "Proxy", "x")
		})}
	})
	return &in
}

func (d dice) slice() *discoveryv1.EndpointSlice {
	var in discoveryv1.EndpointSlice
	in.Labels = map[string]string{discoveryv1.LabelServiceName: pick(d, "web", "web", "")}
	in.AddressType = pick[discoveryv1.AddressType](d, "IPv4", "IPv4", "IPv6", "IPv6", "FQDN")
	in.Ports = many(d, 3, func() discoveryv1.EndpointPort {
		return discoveryv1.EndpointPort{Name: maybe(d, func() string { return "a" }), Protocol: maybe(d, d.protocol), Port: maybe(d, d.number)}
	})
	in.Endpoints = many(d, 8, func() discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: many(d, 2, d.address), Hints: maybe(d, func() discoveryv1.EndpointHints {
			return discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z"}}}
		})}
	})
	return &in
}

func (d dice) endpoints() *corev1.Endpoints {
	var in corev1.Endpoints
	address := func() corev1.EndpointAddress { return corev1.EndpointAddress{IP: d.address()} }
	in.Subsets = many(d, 3, func() corev1.EndpointSubset {
		return corev1.EndpointSubset{Addresses: many(d, 3, address), NotReadyAddresses: many(d, 3, address),
			Ports: many(d, 2, func() corev1.EndpointPort { return corev1.EndpointPort{Protocol: d.protocol(), Port: d.number()} })}
	})
	return &in
}

// TestConversionsOfAnything walks through random objects: whatever they say, nothing gets out that the data plane could
// not program, and enough gets out for that to mean something.
func TestConversionsOfAnything(t *testing.T) {
	var services, slices, mirrored int
	for seed := range uint64(20000) {
		d := dice{rand.New(rand.NewPCG(seed, 1))}
		s, served, problems := FromUnallocatedService(d.service())
		checkService(t, s)
		checkReasons(t, problems)
		if served && len(s.VIPs.Cluster)+len(s.VIPs.External)+len(s.VIPs.LoadBalancer) > 0 && len(s.Ports) > 0 {
			services++
		}
		slice, _, problems := FromSlice(d.slice())
		checkSlice(t, slice)
		checkReasons(t, problems)
		if len(slice.Endpoints) > 0 && len(slice.Ports) > 0 {
			slices++
		}
		parts, problems := FromEndpoints(d.endpoints())
		checkReasons(t, problems)
		for _, part := range parts {
			checkSlice(t, part)
			mirrored++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if services < 1000 || slices < 500 || mirrored < 1000 {
		t.Errorf("only %d Services, %d slices and %d mirrored slices had something to serve", services, slices, mirrored)
	}
}
