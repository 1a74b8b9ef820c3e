package refusal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
)

// service and slice write objects down, with what comes last in their braces.
func service(name, spec string) string {
	return fmt.Sprintf("{kind: Service, apiVersion: v1, metadata: {name: %s}, spec: {%s}}\n", name, spec)
}

func slice(name, owner, rest string) string {
	return fmt.Sprintf("{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, metadata: {name: %s, labels: {kubernetes.io/service-name: %s}}, %s}\n", name, owner, rest)
}

// malformed are objects with something wrong, and what the daemon has to say of it: object, field and value, way out.
func malformed() map[string][]string {
	return map[string][]string{
		service("noports", "clusterIP: 10.96.1.1"):                                                              {"Service default/noports", "spec.ports", "add at least one"},
		service("twice", "clusterIP: 10.96.1.2, ports: [{name: a, port: 80}, {name: b, port: 80}]"):             {"Service default/twice", `spec.ports[1].port "80"`, "remove one"},
		service("range", "clusterIP: 10.96.1.300, ports: [{port: 80}]"):                                         {"Service default/range", `spec.clusterIP "10.96.1.300"`, "not an IP address"},
		service("mapped", `clusterIP: "::ffff:10.96.1.4", ports: [{port: 80}]`):                                 {"Service default/mapped", "spec.clusterIP", "write 10.96.1.4"},
		service("quic", "clusterIP: 10.96.1.5, ports: [{port: 80, protocol: QUIC}]"):                            {"Service default/quic", `spec.ports[0].protocol "QUIC"`, "use TCP, UDP or SCTP"},
		service("high", "clusterIP: 10.96.1.6, ports: [{port: 70000}]"):                                         {"Service default/high", `spec.ports[0].port "70000"`, "1 to 65535"},
		service("word", "clusterIP: 10.96.1.7, ports: [{port: eighty}]"):                                        {"spec.ports[0].port", "eighty", "must be of type int32", "correct the value"},
		service("six", "clusterIP: 10.96.1.8, ipFamilies: [IPv6], ports: [{port: 80}]"):                         {"Service default/six", `spec.ipFamilies[0] "IPv6"`, "add one"},
		service("multicast", "clusterIP: 10.96.1.9, externalIPs: [224.0.0.1], ports: [{port: 80}]"):             {"Service default/multicast", `spec.externalIPs[0] "224.0.0.1"`, "use a unicast address"},
		service("UPPER", "clusterIP: 10.96.1.10, ports: [{port: 80}]"):                                          {"Service default/UPPER", `metadata.name "UPPER"`, "use lower-case letters"},
		service("typo", "clusterIP: 10.96.1.11, ports: [{port: 80, targetport: 1}]"):                            {"Service default/typo", "spec.ports[0].targetport", "check its spelling"},
		service("nodeip", "clusterIP: 172.18.0.11, ports: [{port: 80}]"):                                        {"Service default/nodeip", "172.18.0.11", "use an address that no node has"},
		slice("family", "good", `addressType: IPv4, ports: [{port: 1}], endpoints: [{addresses: ["fd00::9"]}]`): {"EndpointSlice default/family", `endpoints[0].addresses[0] "fd00::9"`, "a slice of its own"},
		slice("empty", "good", "addressType: IPv4, ports: [{port: 1}], endpoints: [{}]"):                        {"EndpointSlice default/empty", "endpoints[0].addresses", "add one"},
		slice("loop", "good", "addressType: IPv4, ports: [{port: 1}], endpoints: [{addresses: [127.0.0.1]}]"):   {"EndpointSlice default/loop", `"127.0.0.1"`, "routed in the cluster"},
		slice("zero", "good", "addressType: IPv4, ports: [{name: x, port: 0}], endpoints: []"):                  {"EndpointSlice default/zero", `ports[0].port "0"`, "1 to 65535"},
		slice("fqdn", "good", "addressType: FQDN, ports: [{port: 1}], endpoints: [{addresses: [a.b]}]"):         {"EndpointSlice default/fqdn", `addressType "FQDN"`, "use IPv4 or IPv6"},
		slice("nobody", `""`, "addressType: IPv4"):                                                              {"EndpointSlice default/nobody", "metadata.labels[kubernetes.io/service-name]", "set the label"},
		"{kind: Pod, apiVersion: v1, metadata: {name: pod}}\n":                                                  {`kind "Pod"`, "remove it"},
		"{kind: Service, apiVersion: v2, metadata: {name: new}}\n":                                              {`apiVersion "v2"`, "convert it"},
		"{kind: Service, apiVersion: v1, metadata: {name: half":                                                 {"not YAML or JSON", "correct the file"},
		"\x00\x01\xff": {"not YAML or JSON", "correct the file"},
		"":             {"the file is empty", "delete it"},
	}
}

// Each wrong object is one line, and what is right is served beside it.
func TestMalformedObjects(t *testing.T) {
	g := newGround(t)
	t.Parallel()
	names, number := map[string][]string{}, 0
	for text, says := range malformed() {
		number++
		name := fmt.Sprintf("bad%d.yaml", number)
		g.write(t, name, text)
		names[name] = says
	}
	for name, create := range map[string]func(string) error{
		"fifo.yaml": func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"dir.yaml":  func(path string) error { return os.Mkdir(path, 0o755) },
		"link.yaml": func(path string) error { return os.Symlink("/does/not/exist", path) },
	} {
		if err := create(filepath.Join(g.manifests, name)); err != nil {
			t.Fatal(err)
		}
		names[name] = []string{"cannot be read", "remove it"}
	}
	d := g.start(t)
	d.says(t, served)
	table := g.sh(t, "ipvsadm -Sn")
	for _, line := range strings.SplitAfter(good4+good6, "\n") {
		if !strings.Contains(table, line) {
			t.Errorf("the good Service is not served: %q is not in\n%s", line, table)
		}
	}
	for name, says := range names {
		var lines []string
		for line := range strings.Lines(d.output.String()) {
			if strings.Contains(line, "\twarn\t") && (strings.Contains(line, " "+name) || says[0] == "Service default/nodeip" && strings.Contains(line, says[0])) {
				lines = append(lines, line)
			}
		}
		if len(lines) != 1 {
			t.Errorf("%s: %q, want one line", name, lines)
			continue
		}
		for _, text := range says {
			if !strings.Contains(lines[0], text) {
				t.Errorf("%s: %q lacks %q", name, lines[0], text)
			}
		}
	}
	d.stop(t)
}

// A file that is being written, or was broken, takes nothing away; corrected, it counts.
func TestHalfWrittenFile(t *testing.T) {
	g := newGround(t)
	t.Parallel()
	d := g.start(t)
	d.serves(t, good4+good6)
	g.write(t, "good.yaml", good[:len(good)/2])
	d.says(t, "its last good version stays in force")
	d.serves(t, good4+good6)
	g.write(t, "good.yaml", strings.ReplaceAll(good, "10.244.1.2", "10.244.1.3"))
	d.serves(t, strings.ReplaceAll(good4, "10.244.1.2", "10.244.1.3")+good6)
	d.says(t, "no problem left")
	d.stop(t)
}

// More endpoints than the API allows, and a slice of a Service that does not exist.
func TestStrangeSlices(t *testing.T) {
	g := newGround(t)
	t.Parallel()
	var endpoints strings.Builder
	for i := range 1100 {
		fmt.Fprintf(&endpoints, "{addresses: [10.245.%d.%d]},", i/250, i%250+1)
	}
	g.write(t, "many.yaml", service("many", "clusterIP: 10.96.1.1, ports: [{port: 80}]")+"---\n"+
		slice("many", "many", "addressType: IPv4, ports: [{port: 80}], endpoints: ["+endpoints.String()+"]"))
	g.write(t, "stray.yaml", slice("stray", "nobody", "addressType: IPv4, ports: [{port: 80}], endpoints: [{addresses: [10.246.0.1]}]"))
	d := g.start(t)
	d.says(t, served,
		`EndpointSlice default/many: many.yaml:3: endpoints "1100": more than the 1000 that the API allows, and used nevertheless; split the slice`,
		`EndpointSlice default/stray: stray.yaml:1: metadata.labels[kubernetes.io/service-name] "nobody": none of the files has a Service of this name`)
	cluster.Await(t, "all endpoints", func() error {
		table := g.sh(t, "ipvsadm -Sn")
		if n := strings.Count(table, "-r 10.245."); n != 1100 || strings.Contains(table, "10.246") {
			return fmt.Errorf("%d real servers", n)
		}
		return nil
	})
	d.stop(t)
}
