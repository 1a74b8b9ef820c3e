package service

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"kube-ipvs-proxy/internal/dataplane"
)

// parsed returns an object of the API written as YAML, without any default applied.
func parsed[T any](t *testing.T, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("the test's own object: %v\n%s", err, text)
	}
	return out
}

// brief prints problems as "field value" lines.
func brief(problems []Problem) string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, strings.TrimSpace(p.Field+" "+p.Value))
	}
	return strings.Join(lines, "\n")
}

// equateNetip makes cmp look at addresses and prefixes as values.
func equateNetip() cmp.Option { return cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}) }

const fullService = `
metadata: {namespace: default, name: web, creationTimestamp: "2026-01-02T03:04:05Z"}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, "fd00:96::10"]
  ipFamilies: [IPv4, IPv6]
  externalIPs: [198.51.100.7, "2001:db8::7"]
  ports:
  - {name: http, protocol: TCP, port: 80, targetPort: 8080, nodePort: 30080}
  - {name: dns, protocol: UDP, port: 53, nodePort: 30080}
  - {name: sig, protocol: SCTP, port: 53}
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 600}}
  internalTrafficPolicy: Local
  externalTrafficPolicy: Local
  healthCheckNodePort: 32000
  loadBalancerSourceRanges: [" 203.0.113.9/24 ", "2001:db8:1::/48", ""]
  publishNotReadyAddresses: true
  trafficDistribution: PreferSameZone
status:
  loadBalancer:
    ingress:
    - {ip: 192.0.2.1}
    - {ip: "2001:db8::1", ipMode: VIP}
    - {ip: 192.0.2.2, ipMode: Proxy}
    - {hostname: lb.example.com}
`

func TestFromServiceFull(t *testing.T) {
	got, served, problems := FromService(parsed[corev1.Service](t, fullService))
	want := Service{
		Name:    Name{"default", "web"},
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		VIPs: VIPs{
			Cluster:      addrList("10.96.0.10 fd00:96::10"),
			External:     addrList("198.51.100.7 2001:db8::7"),
			LoadBalancer: addrList("192.0.2.1 2001:db8::1"),
		},
		Ports: []Port{
			{"http", dataplane.TCP, 80, 30080},
			{"dns", dataplane.UDP, 53, 30080},
			{"sig", dataplane.SCTP, 53, 0},
		},
		Policy: Policy{
			AffinityTimeout: 10 * time.Minute, InternalLocal: true, ExternalLocal: true, Distribution: "PreferSameZone",
			HealthCheckNodePort: 32000, PublishNotReady: true,
			SourceRanges: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:1::/48")},
		},
		Families: dataplane.Families(),
	}
	if !served || len(problems) != 0 {
		t.Errorf("served %v, problems:\n%s", served, brief(problems))
	}
	got.Created = got.Created.UTC()
	if diff := cmp.Diff(want, got, equateNetip()); diff != "" {
		t.Errorf("unexpected Service (-want +got):\n%s", diff)
	}
}

func TestFromServiceNotServed(t *testing.T) {
	for name, c := range map[string]struct {
		object            string
		unallocatedServed bool
	}{
		"B07 ExternalName":                  {`spec: {type: ExternalName, externalName: db.example.com}`, false},
		"B07 ExternalName, left ClusterIP":  {`spec: {type: ExternalName, clusterIP: 10.96.0.1, ports: [{port: 80}]}`, false},
		"B07 headless":                      {`spec: {clusterIP: None, ports: [{port: 80}]}`, false},
		"B07 headless by list":              {`spec: {clusterIPs: [None], ports: [{port: 80}]}`, false},
		"B08 another proxy's":               {`{metadata: {labels: {service.kubernetes.io/service-proxy-name: x}}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}`, false},
		"B08 another proxy's, empty label":  {`{metadata: {labels: {service.kubernetes.io/service-proxy-name: ""}}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}`, false},
		"no ClusterIP: not until allocated": {`spec: {ports: [{port: 80}]}`, true},
	} {
		in := parsed[corev1.Service](t, c.object)
		if got, served, problems := FromService(in); served || len(problems) != 0 {
			t.Errorf("%s: FromService = %+v, %v, %v; want it not served and nothing said", name, got, served, problems)
		}
		if _, served, _ := FromUnallocatedService(in); served != c.unallocatedServed {
			t.Errorf("%s: FromUnallocatedService served = %v", name, served)
		}
	}
}

// problemCase is an object with something wrong, the fields and values reported, and what is left of it.
type problemCase struct {
	name, spec, problems string
	left                 string // as summary prints it
}

// summary prints what a Service is served on.
func summary(s Service) string {
	var b strings.Builder
	for _, kind := range []struct {
		name  string
		addrs []netip.Addr
	}{{"cluster", s.VIPs.Cluster}, {"external", s.VIPs.External}, {"lb", s.VIPs.LoadBalancer}} {
		for _, addr := range kind.addrs {
			fmt.Fprintf(&b, "%s %s ", kind.name, addr)
		}
	}
	for _, p := range s.Ports {
		fmt.Fprintf(&b, "%s%s/%d>%d ", p.Name, p.Protocol, p.Port, p.NodePort)
	}
	return strings.TrimSpace(b.String())
}

func TestFromServicePortProblems(t *testing.T) {
	checkProblems(t, []problemCase{
		{"no ports", `{clusterIP: 10.0.0.1}`, "spec.ports", "cluster 10.0.0.1"},
		{"protocol default", `{clusterIP: 10.0.0.1, ports: [{port: 80}]}`, "", "cluster 10.0.0.1 tcp/80>0"},
		{"unknown protocol", `{clusterIP: 10.0.0.1, ports: [{port: 80, protocol: tcp}, {port: 81}]}`,
			"spec.ports[0].protocol tcp", "cluster 10.0.0.1 tcp/81>0"},
		{"out of range", `{clusterIP: 10.0.0.1, ports: [{name: a, port: 0}, {name: b, port: 65536}, {name: c, port: -1}, {name: d, port: 65535}]}`,
			"spec.ports[0].port 0\nspec.ports[1].port 65536\nspec.ports[2].port -1", "cluster 10.0.0.1 dtcp/65535>0"},
		{"same number", `{clusterIP: 10.0.0.1, ports: [{name: a, port: 80}, {name: b, port: 80}, {name: c, port: 80, protocol: UDP}]}`,
			"spec.ports[1].port 80", "cluster 10.0.0.1 atcp/80>0 cudp/80>0"},
		{"same name", `{clusterIP: 10.0.0.1, ports: [{port: 80}, {port: 81}, {port: 81, protocol: UDP}]}`,
			"spec.ports[1].name", "cluster 10.0.0.1 tcp/80>0 udp/81>0"},
		{"node port out of range", `{type: NodePort, clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 70000}]}`,
			"spec.ports[0].nodePort 70000", "cluster 10.0.0.1 tcp/80>0"},
		{"node port twice", `{type: NodePort, clusterIP: 10.0.0.1, ports: [{name: a, port: 1, nodePort: 30001}, {name: b, port: 2, nodePort: 30001}]}`,
			"spec.ports[1].nodePort 30001", "cluster 10.0.0.1 atcp/1>30001 btcp/2>0"},
		{"node port of a ClusterIP Service", `{clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 30001}]}`,
			"spec.ports[0].nodePort 30001", "cluster 10.0.0.1 tcp/80>0"},
		{"unknown type", `{type: Mesh, clusterIP: 10.0.0.1, ports: [{port: 80}]}`, "spec.type Mesh", "cluster 10.0.0.1 tcp/80>0"},
	})
}

func TestFromServiceAddressProblems(t *testing.T) {
	const port = "tcp/80>0"
	checkProblems(t, []problemCase{
		{"bad ClusterIP of two", `{clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, "::ffff:10.0.0.1"], ports: [{port: 80}]}`,
			"spec.clusterIPs[1] ::ffff:10.0.0.1", "cluster 10.0.0.1 " + port},
		{"ClusterIP outside the list", `{clusterIP: 10.0.0.1, clusterIPs: ["fd00::1"], ports: [{port: 80}]}`,
			"", "cluster 10.0.0.1 cluster fd00::1 " + port},
		{"no address", `{clusterIP: 10.0.0.256, ports: [{port: 80}]}`, "spec.clusterIP 10.0.0.256", port},
		{"external", `{clusterIP: 10.0.0.1, ports: [{port: 80}], externalIPs: [nonsense, "", 127.0.0.1, 224.0.0.1, 0.0.0.0, 169.254.1.1, 255.255.255.255, 10.0.0.1/32, 192.0.2.9, 192.0.2.9]}`,
			"spec.externalIPs[0] nonsense\nspec.externalIPs[1]\nspec.externalIPs[2] 127.0.0.1\nspec.externalIPs[3] 224.0.0.1\nspec.externalIPs[4] 0.0.0.0\n" +
				"spec.externalIPs[5] 169.254.1.1\nspec.externalIPs[6] 255.255.255.255\nspec.externalIPs[7] 10.0.0.1/32", "cluster 10.0.0.1 external 192.0.2.9 " + port},
		{"zone", `{clusterIP: "fd00::1", ports: [{port: 80}], externalIPs: ["fe80::1%eth0", "2001:db8::1"]}`,
			"spec.externalIPs[0] fe80::1%eth0", "cluster fd00::1 external 2001:db8::1 " + port},
		{"external of another family", `{clusterIP: 10.0.0.1, ports: [{port: 80}], externalIPs: ["2001:db8::1"]}`,
			"spec.externalIPs 2001:db8::1", "cluster 10.0.0.1 " + port},
		{"family unknown", `{ipFamilies: [IPv5, IPv6], clusterIP: 10.0.0.256, externalIPs: ["2001:db8::1"], ports: [{port: 80}]}`,
			"spec.clusterIP 10.0.0.256\nspec.ipFamilies[0] IPv5", "external 2001:db8::1 " + port},
	})
}

func checkProblems(t *testing.T, cases []problemCase) {
	t.Helper()
	for _, c := range cases {
		in := parsed[corev1.Service](t, `{metadata: {namespace: default, name: web}, spec: `+c.spec+`}`)
		got, served, problems := FromService(in)
		if !served {
			t.Errorf("%s: not served", c.name)
		}
		if diff := cmp.Diff(c.problems, brief(problems)); diff != "" {
			t.Errorf("%s: problems (-want +got):\n%s", c.name, diff)
		}
		if diff := cmp.Diff(c.left, summary(got)); diff != "" {
			t.Errorf("%s: what is left (-want +got):\n%s", c.name, diff)
		}
		for _, p := range problems {
			if p.Object != "Service default/web" || len(p.Reason) < 20 {
				t.Errorf("%s: a problem needs the object and a reason with a remedy: %+v", c.name, p)
			}
		}
	}
}

func TestProblemQuotesLongValuesInPart(t *testing.T) {
	in := parsed[corev1.Service](t, `{metadata: {name: web}, spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}}`)
	in.Spec.ExternalIPs = []string{strings.Repeat("ä", 4000)}
	_, _, problems := FromService(in)
	if len(problems) != 1 || len(problems[0].Value) > maxValue+len("…") || !strings.HasSuffix(problems[0].Value, "ä…") {
		t.Errorf("got %q", problems)
	}
}

func TestProblemText(t *testing.T) {
	for want, p := range map[string]Problem{
		`Service a/b: too much`:                      {Object: "Service a/b", Reason: "too much"},
		`Service a/b: spec.ports: none; add one`:     {Object: "Service a/b", Field: "spec.ports", Reason: "none; add one"},
		`Service a/b: spec.x "1": wrong; correct it`: {Object: "Service a/b", Field: "spec.x", Value: "1", Reason: "wrong; correct it"},
	} {
		if got := p.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
