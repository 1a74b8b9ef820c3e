//lint:file-ignore SA1019 the deprecated Endpoints are read on purpose: manifests of old still hold them

package service

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// slicePart prints a slice as text: one line for the ports, one for each endpoint.
func slicePart(s Slice) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s:", s.Name, s.Service)
	for _, p := range s.Ports {
		fmt.Fprintf(&b, " %s=%s/%d", p.Name, p.Protocol, p.Port)
	}
	for _, e := range s.Endpoints {
		fmt.Fprintf(&b, "\n%s node=%s zone=%s", e.Addr, e.Node, e.Zone)
		for _, state := range []struct {
			name string
			is   bool
		}{{"ready", e.Ready}, {"serving", e.Serving}, {"terminating", e.Terminating}} {
			if state.is {
				b.WriteString(" " + state.name)
			}
		}
		if len(e.ForZones)+len(e.ForNodes) > 0 {
			fmt.Fprintf(&b, " for %v %v", e.ForZones, e.ForNodes)
		}
	}
	return b.String()
}

const fullSlice = `
metadata:
  namespace: default
  name: web-abc
  labels: {kubernetes.io/service-name: web}
  annotations: {endpoints.kubernetes.io/last-change-trigger-time: "2026-01-02T03:04:05.5Z"}
addressType: IPv4
ports:
- {name: http, port: 8080, protocol: TCP}
- {port: 53, protocol: UDP}
- {name: plain, port: 9}
endpoints:
- addresses: [10.244.1.1, 10.244.1.2]
  nodeName: node-1
  zone: z1
  hints: {forZones: [{name: z1}, {name: z2}], forNodes: [{name: node-1}]}
  deprecatedTopology: {topology.kubernetes.io/zone: old}
- {addresses: [10.244.1.3], conditions: {ready: false}}
- {addresses: [10.244.1.4], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.244.1.5], conditions: {ready: true, serving: false, terminating: false}}
`

func TestFromSliceFull(t *testing.T) {
	got, ok, problems := FromSlice(parsed[discoveryv1.EndpointSlice](t, fullSlice))
	if !ok || len(problems) > 0 {
		t.Errorf("ok %v, problems %v", ok, problems)
	}
	want := `default/web-abc of web: http=tcp/8080 =udp/53 plain=tcp/9
10.244.1.1 node=node-1 zone=z1 ready serving for [z1 z2] [node-1]
10.244.1.3 node= zone= serving
10.244.1.4 node= zone= serving terminating
10.244.1.5 node= zone= ready`
	if diff := cmp.Diff(want, slicePart(got)); diff != "" {
		t.Errorf("slice (-want +got):\n%s", diff)
	}
	if want := time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC); !got.Triggered.Equal(want) {
		t.Errorf("triggered %v, want %v", got.Triggered, want)
	}
}

func TestFromSliceLeftOut(t *testing.T) {
	const label = "metadata.labels[kubernetes.io/service-name]"
	for _, c := range []struct{ name, slice, problems string }{
		{"B08 headless", `{metadata: {labels: {kubernetes.io/service-name: web, service.kubernetes.io/headless: ""}}, addressType: IPv4}`, ""},
		{"no Service", `{addressType: IPv4}`, label},
		{"empty Service", `{metadata: {labels: {kubernetes.io/service-name: ""}}, addressType: IPv4}`, label},
		{"host names", `{metadata: {labels: {kubernetes.io/service-name: web}}, addressType: FQDN}`, "addressType FQDN"},
		{"no type", `{metadata: {labels: {kubernetes.io/service-name: web}}}`, "addressType"},
	} {
		got, ok, problems := FromSlice(parsed[discoveryv1.EndpointSlice](t, c.slice))
		if ok || got.Service != "" || brief(problems) != c.problems {
			t.Errorf("%s: %+v, %v, problems %q; want it left out with %q", c.name, got, ok, brief(problems), c.problems)
		}
	}
}

func TestFromSliceProblems(t *testing.T) {
	for _, c := range []struct{ name, slice, left, problems string }{
		{"placeholder", `{addressType: IPv4}`, "", ""},
		{"no ports", `{addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}]}`, "\n10.0.0.1 node= zone= ready serving", "ports"},
		{"ports", `{addressType: IPv4, ports: [{name: a}, {name: b, port: 0}, {name: c, port: 1, protocol: ICMP}, {name: d, port: 2}, {name: d, port: 3}, {name: d, port: 4, protocol: UDP}]}`,
			" d=tcp/2 d=udp/4", "ports[0].port\nports[1].port 0\nports[2].protocol ICMP\nports[4].name d"},
		{"addresses", `{addressType: IPv4, ports: [{port: 1}], endpoints: [{addresses: []}, {addresses: [pod-1]}, {addresses: ["fd00::1"]}, {addresses: [127.0.0.1]}, {addresses: [169.254.0.1]}, {addresses: [10.0.0.1, junk]}]}`,
			" =tcp/1\n10.0.0.1 node= zone= ready serving",
			"endpoints[0].addresses\nendpoints[1].addresses[0] pod-1\nendpoints[2].addresses[0] fd00::1\nendpoints[3].addresses[0] 127.0.0.1\nendpoints[4].addresses[0] 169.254.0.1"},
		{"mapped", `{addressType: IPv6, ports: [{port: 1}], endpoints: [{addresses: ["::ffff:10.0.0.1"]}, {addresses: [10.0.0.1]}, {addresses: ["fd00::1"]}]}`,
			" =tcp/1\nfd00::1 node= zone= ready serving", "endpoints[0].addresses[0] ::ffff:10.0.0.1\nendpoints[1].addresses[0] 10.0.0.1"},
		{"trigger time", `{metadata: {annotations: {endpoints.kubernetes.io/last-change-trigger-time: today}}, addressType: IPv4}`, "",
			"metadata.annotations[endpoints.kubernetes.io/last-change-trigger-time] today"},
	} {
		in := parsed[discoveryv1.EndpointSlice](t, c.slice)
		in.Namespace, in.Name, in.Labels = "default", "s", map[string]string{discoveryv1.LabelServiceName: "web"}
		got, ok, problems := FromSlice(in)
		if diff := cmp.Diff("default/s of web:"+c.left, slicePart(got)); !ok || diff != "" {
			t.Errorf("%s: ok %v, what is left (-want +got):\n%s", c.name, ok, diff)
		}
		if diff := cmp.Diff(c.problems, brief(problems)); diff != "" {
			t.Errorf("%s: problems (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestFromSliceOverTheLimit(t *testing.T) {
	in := parsed[discoveryv1.EndpointSlice](t, fullSlice)
	in.Endpoints = nil
	for i := range maxEndpoints + 1 {
		in.Endpoints = append(in.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.1.%d.%d", i/250, 1+i%250)}})
	}
	got, _, problems := FromSlice(in)
	if len(got.Endpoints) != maxEndpoints+1 || brief(problems) != "endpoints 1001" {
		t.Errorf("%d endpoints, problems %v; want all of them and a note", len(got.Endpoints), problems)
	}
}

func TestFromEndpoints(t *testing.T) {
	in := parsed[corev1.Endpoints](t, `
metadata: {namespace: default, name: web, annotations: {endpoints.kubernetes.io/last-change-trigger-time: "2026-01-02T03:04:05Z"}}
subsets:
- addresses: [{ip: 10.244.1.10, nodeName: node-1}, {ip: "fd00::10", nodeName: node-1}, {ip: 10.244.1.10}]
  notReadyAddresses: [{ip: 10.244.1.11}, {ip: 10.244.1.10}]
  ports: [{name: a, port: 8080}, {name: b, port: 53, protocol: UDP}]
- addresses: [{ip: 10.244.1.12}]
  ports: [{name: b, port: 53, protocol: UDP}, {name: a, port: 8080, protocol: TCP}]
- addresses: [{ip: 10.244.2.1}]
  ports: [{name: a, port: 9090}]
`)
	got, problems := FromEndpoints(in)
	if len(problems) > 0 {
		t.Errorf("problems %v", problems)
	}
	var parts []string
	for _, s := range got {
		parts = append(parts, slicePart(s))
		if s.Triggered.IsZero() {
			t.Errorf("%s: not triggered", s.Name)
		}
	}
	want := `default/web:0:ipv4 of web: a=tcp/8080 b=udp/53
10.244.1.10 node=node-1 zone= ready serving
10.244.1.11 node= zone= serving
10.244.1.12 node= zone= ready serving
default/web:0:ipv6 of web: a=tcp/8080 b=udp/53
fd00::10 node=node-1 zone= ready serving
default/web:1:ipv4 of web: a=tcp/9090
10.244.2.1 node= zone= ready serving`
	if diff := cmp.Diff(want, strings.Join(parts, "\n")); diff != "" {
		t.Errorf("slices (-want +got):\n%s", diff)
	}
}

func TestFromEndpointsNotMirrored(t *testing.T) {
	for _, metadata := range []string{
		`{name: lock, annotations: {control-plane.alpha.kubernetes.io/leader: "{}"}}`,
		`{name: web, labels: {endpointslice.kubernetes.io/skip-mirror: "true"}}`,
	} {
		got, problems := FromEndpoints(parsed[corev1.Endpoints](t, `{metadata: `+metadata+`, subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 1}]}]}`))
		if len(got)+len(problems) > 0 {
			t.Errorf("%s: %v, %v; want nothing", metadata, got, problems)
		}
	}
}

func TestFromEndpointsProblems(t *testing.T) {
	got, problems := FromEndpoints(parsed[corev1.Endpoints](t, `
metadata: {namespace: default, name: web}
subsets:
- addresses: [{ip: web.example.com}, {ip: 127.0.0.1}]
  notReadyAddresses: [{ip: 10.0.0.256}]
  ports: [{port: 8080}, {name: x, port: 70000}, {name: y, port: 1, protocol: QUIC}]
- addresses: [{ip: 10.0.0.1}]
`))
	if len(got) != 1 || got[0].Name.Name != "web:1:ipv4" || len(got[0].Ports) != 0 {
		t.Errorf("slices %v, want the one whose subset has a usable address", got)
	}
	want := `subsets[0].ports[1].port 70000
subsets[0].ports[2].protocol QUIC
subsets[0].addresses[0].ip web.example.com
subsets[0].addresses[1].ip 127.0.0.1
subsets[0].notReadyAddresses[0].ip 10.0.0.256
subsets[1].ports`
	if diff := cmp.Diff(want, brief(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestFromNode(t *testing.T) {
	in := parsed[corev1.Node](t, `
metadata: {name: node-1, deletionTimestamp: "2026-01-02T03:04:05Z", labels: {topology.kubernetes.io/zone: z1}}
spec:
  podCIDR: 10.244.1.0/24
  podCIDRs: [10.244.1.0/24, "fd00:244:1::/64", 256.1.0.0/16]
  taints: [{key: other, effect: NoSchedule}, {key: ToBeDeletedByClusterAutoscaler, value: "1", effect: NoSchedule}]
status:
  addresses:
  - {type: Hostname, address: node-1}
  - {type: ExternalIP, address: 198.51.100.1}
  - {type: InternalIP, address: 192.0.2.1}
  - {type: InternalIP, address: "2001:db8::1"}
  - {type: InternalIP, address: 0.0.0.0}
  - {type: InternalDNS, address: node-1.internal}
`)
	got, problems := FromNode(in)
	text := fmt.Sprintf("%s %s %v %v %v %v", got.Name, got.Zone, got.Addresses, got.PodCIDRs, got.Deleting, got.Excluded)
	want := "node-1 z1 [192.0.2.1 2001:db8::1 198.51.100.1] [10.244.1.0/24 fd00:244:1::/64] true true"
	if text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if brief(problems) != "status.addresses[4].address 0.0.0.0\nspec.podCIDRs[2] 256.1.0.0/16" || problems[0].Object != "Node node-1" {
		t.Errorf("problems %v", problems)
	}
	single, problems := FromNode(parsed[corev1.Node](t, `{metadata: {name: n}, spec: {podCIDR: 10.1.2.3/24}}`))
	if text := fmt.Sprint(single.PodCIDRs, single.Deleting, single.Excluded, problems); text != "[10.1.2.0/24] false false []" {
		t.Errorf("podCIDR alone: %s", text)
	}
}

// What is not set has a meaning: "A nil value should be interpreted as" true, true and false (discovery/v1
// EndpointConditions), each condition for itself.
func TestFromSliceConditions(t *testing.T) {
	values := []*bool{nil, new(bool), new(bool)}
	*values[2] = true
	for _, ready := range values {
		for _, serving := range values {
			for _, terminating := range values {
				in := parsed[discoveryv1.EndpointSlice](t, fullSlice)
				in.Endpoints = in.Endpoints[:1]
				in.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: ready, Serving: serving, Terminating: terminating}
				out, _, _ := FromSlice(in)
				got := out.Endpoints[0]
				if got.Ready != (ready != values[1]) || got.Serving != (serving != values[1]) || got.Terminating != (terminating == values[2]) {
					t.Errorf("%+v: ready %v, serving %v, terminating %v", in.Endpoints[0].Conditions, got.Ready, got.Serving, got.Terminating)
				}
			}
		}
	}
}
