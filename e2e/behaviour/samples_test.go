package behaviour

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// What people write into YAML goes through the API server, and ends up in the table line by line as it should.
func TestSamples(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	for _, pod := range []*topology.Pod{s.web, s.far} {
		backend.StartAll(t, pod.Netns, 9376, topology.TCP)
	}
	services := map[string]*cluster.Service{}
	for _, sample := range documents[corev1.Service](t, "testdata/services.yaml") {
		services[sample.Name] = s.Create(t, &sample)
	}
	for _, sample := range documents[discoveryv1.EndpointSlice](t, "testdata/slices.yaml") {
		s.CreateSlice(t, &sample)
	}
	for name, service := range services {
		switch {
		case name == "my-unready":
			service.SetEndpoints(t, s.Endpoint(s.web), s.Endpoint(s.far).Published())
		case service.Spec.Selector["app"] == "MyApp":
			service.SetEndpoints(t, s.both()...)
		}
	}
	s.Settle(t)
	want := sections(t, "testdata/services.ipvs")
	if names := slices.Sorted(maps.Keys(want)); !slices.Equal(names, slices.Sorted(maps.Keys(services))) {
		t.Fatalf("testdata/services.ipvs is about %s, want it about every Service of testdata/services.yaml", names)
	}
	for name, service := range services {
		t.Run(name, func(t *testing.T) { s.checkSample(t, service, want[name]) })
	}
}

// checkSample compares the lines about one Service, and asks it where somebody serves.
func (s *scene) checkSample(t *testing.T, service *cluster.Service, want string) {
	t.Helper()
	var ports []string
	for _, port := range service.Spec.Ports {
		if port.NodePort != 0 {
			ports = append(ports, fmt.Sprintf("%s:%d", s.Node.IPv4, port.NodePort))
			want = strings.ReplaceAll(want, "NODE-PORT", strconv.Itoa(int(port.NodePort)))
		}
	}
	ip := service.Spec.ClusterIP
	want = strings.ReplaceAll(want, "CLUSTER-IP", ip)
	var got []string
	for line := range strings.Lines(s.IPVS(t)) {
		at := strings.Fields(line)[2]
		if ip != "" && strings.HasPrefix(at, ip+":") || slices.Contains(ports, at) {
			got = append(got, line)
		}
	}
	if err := differs(cluster.TableOf(want), strings.Join(got, "")); err != nil {
		t.Error(err)
	}
	if service.Spec.Selector["app"] == "MyApp" {
		ask(t, s.client.Netns, service.Target(cluster.Way{Kind: cluster.ClusterIP, Protocol: topology.TCP, Family: topology.IPv4}))
	}
}

// documents reads the objects of a file.
func documents[T any](t *testing.T, file string) []T {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []T
	for i, document := range strings.Split(string(content), "\n---\n") {
		var object T
		if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
			t.Fatalf("%s, document %d: %v", file, i+1, err)
		}
		all = append(all, object)
	}
	return all
}

// sections reads a file of tables, each below a line with # and the Service's name.
func sections(t *testing.T, file string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, tablesText, _ := strings.Cut(string(content), "\n\n") // what the file is about
	tables, name := map[string]string{}, ""
	for line := range strings.Lines(tablesText) {
		if heading, found := strings.CutPrefix(line, "# "); found {
			name = strings.TrimSpace(heading)
			tables[name] = ""
			continue
		}
		tables[name] += line
	}
	return tables
}
