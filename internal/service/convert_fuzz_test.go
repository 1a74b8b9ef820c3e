//lint:file-ignore SA1019 the deprecated Endpoints are read on purpose: manifests of old still hold them

package service

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"kube-ipvs-proxy/internal/dataplane"
)

// FuzzFromService feeds the conversion whatever an object can say: it never panics, and nothing gets out that the data
// plane could not program.
func FuzzFromService(f *testing.F) {
	f.Add([]byte(fullService))
	f.Add([]byte(`{spec: {clusterIP: "::ffff:1.2.3.4", clusterIPs: [fe80::1%x, 010.1.1.1], ports: [{port: -1}, {port: 70000, nodePort: 99999}]}}`))
	f.Add([]byte(`{spec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: -1, ports: [{port: 1, nodePort: 2}, {port: 2, nodePort: 2}], sessionAffinity: ClientIP, loadBalancerSourceRanges: [x]}, status: {loadBalancer: {ingress: [{ip: 224.0.0.1}, {ip: 192.0.2.1}]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var in corev1.Service
		if yaml.Unmarshal(data, &in) != nil {
			return
		}
		for _, convert := range []func(*corev1.Service) (Service, bool, []Problem){FromService, FromUnallocatedService} {
			out, _, problems := convert(&in)
			checkService(t, out)
			checkReasons(t, problems)
		}
	})
}

func checkService(t *testing.T, s Service) {
	t.Helper()
	for _, list := range [][]netip.Addr{s.VIPs.Cluster, s.VIPs.External, s.VIPs.LoadBalancer} {
		for i, addr := range list {
			checkAddress(t, addr)
			if slices.Contains(list[:i], addr) || !slices.Contains(s.Families, dataplane.FamilyOf(addr)) {
				t.Errorf("%s is there twice, or not of the families %v", addr, s.Families)
			}
		}
	}
	numbers, nodePorts := map[portNumber]bool{}, map[portNumber]bool{}
	for _, p := range s.Ports {
		key, node := portNumber{p.Protocol, p.Port}, portNumber{p.Protocol, p.NodePort}
		if p.Port == 0 || numbers[key] || p.NodePort != 0 && nodePorts[node] {
			t.Errorf("port %+v is 0 or there twice", p)
		}
		checkProtocol(t, p.Protocol)
		numbers[key], nodePorts[node] = true, true
	}
	if a := s.Policy.AffinityTimeout; a < 0 || a > maxAffinity || a%time.Second != 0 {
		t.Errorf("affinity timeout %v", a)
	}
	for _, p := range s.Policy.SourceRanges {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			t.Errorf("source range %v", p)
		}
	}
}

func checkAddress(t *testing.T, addr netip.Addr) {
	t.Helper()
	if !addr.IsValid() || addr.Zone() != "" || addr.Is4In6() || addr.IsMulticast() || addr.IsUnspecified() || addr.IsLoopback() {
		t.Errorf("address %v got out", addr)
	}
}

func checkProtocol(t *testing.T, p dataplane.Protocol) {
	t.Helper()
	if p != dataplane.TCP && p != dataplane.UDP && p != dataplane.SCTP {
		t.Errorf("protocol %v got out", p)
	}
}

func checkReasons(t *testing.T, problems []Problem) {
	t.Helper()
	for _, p := range problems {
		if p.Object == "" || p.Field == "" || p.Reason == "" || len(p.Value) > maxValue+len("…") {
			t.Errorf("problem %+v", p)
		}
	}
}

func checkSlice(t *testing.T, s Slice) {
	t.Helper()
	for _, p := range s.Ports {
		checkProtocol(t, p.Protocol)
		if p.Port == 0 {
			t.Error("port 0 got out")
		}
	}
	for _, e := range s.Endpoints {
		checkAddress(t, e.Addr)
		if dataplane.FamilyOf(e.Addr) != dataplane.FamilyOf(s.Endpoints[0].Addr) {
			t.Errorf("%v and %v in one slice", e.Addr, s.Endpoints[0].Addr)
		}
	}
}

// FuzzFromSlice is FuzzFromService for EndpointSlices, legacy Endpoints and Nodes.
func FuzzFromSlice(f *testing.F) {
	f.Add([]byte(fullSlice))
	f.Add([]byte(`{metadata: {labels: {kubernetes.io/service-name: x}}, addressType: IPv6, ports: [{}, {port: 0}], endpoints: [{}, {addresses: ["::"]}, {addresses: [fe80::1%e]}]}`))
	f.Add([]byte(`{subsets: [{}, {ports: [{port: 1}], addresses: [{ip: "::1"}, {ip: 1.2.3.4}, {ip: fd00::1}], notReadyAddresses: [{ip: 1.2.3.4}]}]}`))
	f.Add([]byte(`{spec: {podCIDRs: [x, 1.2.3.4/8]}, status: {addresses: [{type: InternalIP, address: fe80::1%x}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var slice discoveryv1.EndpointSlice
		if yaml.Unmarshal(data, &slice) == nil {
			out, _, problems := FromSlice(&slice)
			checkSlice(t, out)
			checkReasons(t, problems)
		}
		var endpoints corev1.Endpoints
		if yaml.Unmarshal(data, &endpoints) == nil {
			out, problems := FromEndpoints(&endpoints)
			for _, s := range out {
				checkSlice(t, s)
			}
			checkReasons(t, problems)
		}
		var node corev1.Node
		if yaml.Unmarshal(data, &node) == nil {
			out, problems := FromNode(&node)
			for _, addr := range out.Addresses {
				if addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified() {
					t.Errorf("node address %v got out", addr)
				}
			}
			checkReasons(t, problems)
		}
	})
}
