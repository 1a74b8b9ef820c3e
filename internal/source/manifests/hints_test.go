package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

const (
	zoned = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
- {addresses: [10.0.0.1], nodeName: node-1, zone: z1}
- {addresses: [10.0.0.2], nodeName: node-2, zone: z1}
- {addresses: [10.0.0.3], nodeName: node-3, zone: z2}
`
	zonedName = "slice default/web-1"
	plain     = "of web: tcp/8080 10.0.0.1@node-1 10.0.0.2@node-2 10.0.0.3@node-3"
	byZone    = "of web: tcp/8080 10.0.0.1@node-1 for [z1] [] 10.0.0.2@node-2 for [z1] [] 10.0.0.3@node-3 for [z2] []"
	byNode    = "of web: tcp/8080 10.0.0.1@node-1 for [z1] [node-1] 10.0.0.2@node-2 for [z1] [node-2] 10.0.0.3@node-3 for [z2] [node-3]"
)

// distributed is the Service web with a trafficDistribution.
func distributed(value string) string {
	return strings.Replace(web, "spec: {", "spec: {trafficDistribution: "+value+", ", 1)
}

// hintedBy is the slice with hints of its own at one endpoint.
func hintedBy(hints string) string {
	return strings.Replace(zoned, "zone: z2", "zone: z2, hints: {"+hints+"}", 1)
}

// hintStep writes a file, or removes it for want of text, and says what is known of the slice then; "" for nothing.
type hintStep struct{ file, text, want string }

// Whatever comes first, and whatever changes later, the slice's hints are those for the Service as it is now.
func TestB26HintsFollowServiceAndSlice(t *testing.T) {
	own := "of web: tcp/8080 10.0.0.1@node-1 10.0.0.2@node-2 10.0.0.3@node-3 for [z1 z2] []"
	for name, steps := range map[string][]hintStep{
		"Service first": {
			{"service.yaml", distributed("PreferSameZone"), ""}, {"slice.yaml", zoned, byZone},
			{"slice.yaml", hintedBy("forZones: [{name: z1}, {name: z2}]"), own}, {"slice.yaml", zoned, byZone}, {"slice.yaml", "", ""},
		},
		"slice first": {
			{"slice.yaml", zoned, plain}, {"service.yaml", distributed("PreferSameZone"), byZone},
			{"service.yaml", distributed("PreferSameNode"), byNode}, {"service.yaml", distributed("PreferClose"), byZone},
			{"service.yaml", web, plain}, {"service.yaml", distributed("PreferSameNode"), byNode}, {"service.yaml", "", plain},
		},
		"both in one file, then apart": {
			{"all.yaml", distributed("PreferSameNode") + "---" + zoned, byNode}, {"all.yaml", zoned, plain},
			{"b.yaml", distributed("PreferSameZone"), byZone},
		},
		"another Service's slice": {
			{"service.yaml", distributed("PreferSameZone"), ""}, {"slice.yaml", zoned, byZone},
			{"slice.yaml", strings.Replace(zoned, "service-name: web", "service-name: other", 1), strings.Replace(plain, "of web", "of other", 1)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			sink, _ := follow(t, dir)
			for i, step := range steps {
				path := filepath.Join(dir, step.file)
				if step.text == "" {
					must(t, os.Remove(path))
				} else {
					write(t, path, step.text)
				}
				want := fmt.Sprintf("step %d: %q", i, step.want)
				sink.eventually(t, want, func() bool { return sink.get(zonedName) == step.want })
				if strings.Contains(step.text, "kind: Service") {
					sink.eventually(t, "the Service", func() bool { return sink.get(webName) != "" })
				}
			}
		})
	}
}

// What an endpoint is for, by what is known of it.
func TestB26HintsOfAnEndpoint(t *testing.T) {
	const nodes = `
---
{apiVersion: v1, kind: Node, metadata: {name: node-1, labels: {topology.kubernetes.io/zone: z1}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2, labels: {topology.kubernetes.io/zone: z2}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-3}}
`
	for _, c := range []struct{ distribution, endpoint, want string }{
		{"PreferSameZone", "zone: z9, nodeName: node-2", "[z9] []"}, // as the slice says, whatever the Node is labelled
		{"PreferSameZone", "nodeName: node-2", "[z2] []"},           // another Node's zone, as the controller has it
		{"PreferSameZone", "nodeName: node-3", "[] []"},
		{"PreferSameZone", "nodeName: node-4", "[] []"},
		{"PreferSameZone", "zone: z1", "[z1] []"},
		{"PreferSameNode", "zone: z1", "[z1] []"},
		{"PreferSameNode", "nodeName: node-4", "[] [node-4]"},
		{"PreferSameNode", "nodeName: node-2, conditions: {ready: false}", "[z2] [node-2]"},
		{"PreferSameNode", "nodeName: node-2, hints: {forZones: [{name: z3}]}", "[z3] []"},
		{"PreferSameZone", "zone: z1, hints: {forNodes: [{name: node-3}]}", "[] [node-3]"},
		{"PreferSameZone", "zone: z1, hints: {}", "[z1] []"},
		{"preferSameZone", "nodeName: node-2, zone: z1", "[] []"},
		{"''", "nodeName: node-2, zone: z1", "[] []"},
	} {
		slice := zoned[:strings.Index(zoned, "endpoints:")] + "endpoints: [{addresses: [10.0.0.1], " + c.endpoint + "}]\n"
		w := worldOf(t, distributed(c.distribution)+"---"+slice+nodes)
		e := w.slices[service.Name{Namespace: "default", Name: "web-1"}].Endpoints[0]
		if got := fmt.Sprint(e.ForZones, " ", e.ForNodes); got != c.want {
			t.Errorf("%s, {%s}: hints %s, want %s", c.distribution, c.endpoint, got, c.want)
		}
	}
}

// worldOf is what one file says.
func worldOf(t *testing.T, text string) world {
	t.Helper()
	found := decode("x.yaml", []byte(text))
	if found.bad {
		t.Fatalf("the test's own file: %v", found.problems)
	}
	return newWorld(map[string]*file{"x.yaml": {objects: found.objects, problems: found.problems, good: true}}, "node-1")
}

// The preference reaches clients as it does in a cluster, with the same fall-backs: of two slices, one of them legacy
// Endpoints, and of nodes in every place.
func TestB26PreferenceReachesClients(t *testing.T) {
	const legacy = `---
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets: [{addresses: [{ip: 10.0.0.4, nodeName: node-4}], ports: [{port: 8080}]}]
---
{apiVersion: v1, kind: Node, metadata: {name: node-4, labels: {topology.kubernetes.io/zone: z2}}}
`
	for _, c := range []struct {
		distribution string
		node         service.Node
		want         string
	}{
		{"PreferSameZone", service.Node{Name: "node-1", Zone: "z1"}, "1 2"},
		{"PreferSameZone", service.Node{Name: "node-9", Zone: "z2"}, "3 4"},
		{"PreferClose", service.Node{Name: "node-9", Zone: "z2"}, "3 4"},
		{"PreferSameZone", service.Node{Name: "node-9", Zone: "z9"}, "1 2 3 4"},
		{"PreferSameZone", service.Node{Name: "node-1"}, "1 2 3 4"},
		{"PreferSameNode", service.Node{Name: "node-1", Zone: "z1"}, "1"},
		{"PreferSameNode", service.Node{Name: "node-4"}, "4"},
		{"PreferSameNode", service.Node{Name: "node-9", Zone: "z1"}, "1 2"},
		{"PreferSameNode", service.Node{Name: "node-9", Zone: "z9"}, "1 2 3 4"},
		{"Nearest", service.Node{Name: "node-1", Zone: "z1"}, "1 2 3 4"},
	} {
		w := worldOf(t, distributed(c.distribution)+"---"+zoned+legacy)
		var parts []service.Slice
		for _, slice := range w.slices {
			parts = append(parts, slice)
		}
		view := service.NewView(w.services[service.Name{Namespace: "default", Name: "web"}], parts...)
		selected := service.Select(service.OfFamily(view.Endpoints(view.Ports[0]), dataplane.IPv4), view.Policy, c.node)
		var got []string
		for _, e := range selected.Internal {
			got = append(got, strings.TrimPrefix(e.Addr.String(), "10.0.0."))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s on %+v: clients get %v, want %s", c.distribution, c.node, got, c.want)
		}
	}
}

func TestB26UnknownDistribution(t *testing.T) {
	for value, want := range map[string]string{
		"PreferSameZone": "", "PreferSameNode": "", "PreferClose": "", "''": "",
		"preferSameZone": "x.yaml:4: spec.trafficDistribution", "example.com/nearest": "x.yaml:4: spec.trafficDistribution",
	} {
		problems := worldOf(t, distributed(value)).problems["Service default/web"]
		if want == "" && len(problems) == 0 {
			continue
		}
		if len(problems) != 1 || problems[0].Field != want || problems[0].Value != value || !strings.Contains(problems[0].Reason, "PreferSameNode") {
			t.Errorf("%s: problems %+v", value, problems)
		}
	}
}
