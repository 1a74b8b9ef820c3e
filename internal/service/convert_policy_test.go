package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/internal/dataplane"
)

func TestFromServiceAffinity(t *testing.T) {
	const field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds "
	for spec, want := range map[string]struct {
		timeout  time.Duration
		problems string
	}{
		`{}`:                          {0, ""},
		`{sessionAffinity: None}`:     {0, ""},
		`{sessionAffinity: Cookie}`:   {0, "spec.sessionAffinity Cookie"},
		`{sessionAffinity: ClientIP}`: {3 * time.Hour, ""},
		`{sessionAffinity: ClientIP, sessionAffinityConfig: {}}`:                                  {3 * time.Hour, ""},
		`{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {}}}`:                      {3 * time.Hour, ""},
		`{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}}`:     {time.Second, ""},
		`{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86400}}}`: {24 * time.Hour, ""},
		`{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}}`: {3 * time.Hour, field + "86401"},
		`{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}}`:     {3 * time.Hour, field + "0"},
		`{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: -5}}}`:    {3 * time.Hour, field + "-5"},
		`{sessionAffinity: None, sessionAffinityConfig: {clientIP: {timeoutSeconds: 600}}}`:       {0, ""},
	} {
		in := parsed[corev1.Service](t, `spec: `+spec)
		in.Spec.ClusterIP, in.Spec.Ports = "10.0.0.1", []corev1.ServicePort{{Port: 80}}
		got, _, problems := FromService(in)
		if got.Policy.AffinityTimeout != want.timeout || brief(problems) != want.problems {
			t.Errorf("%s: %v, %q; want %v, %q", spec, got.Policy.AffinityTimeout, brief(problems), want.timeout, want.problems)
		}
	}
}

func TestFromServicePolicies(t *testing.T) {
	const hc = "spec.healthCheckNodePort "
	for _, c := range []struct{ spec, want, problems string }{
		{`{}`, "internal false external false 0", ""},
		{`{internalTrafficPolicy: Local, externalTrafficPolicy: Local}`, "internal true external false 0", ""},
		{`{externalIPs: [192.0.2.1], externalTrafficPolicy: Local}`, "internal false external true 0", ""},
		{`{internalTrafficPolicy: Nearest, externalTrafficPolicy: local}`, "internal false external false 0",
			"spec.externalTrafficPolicy local\nspec.internalTrafficPolicy Nearest"},
		{`{type: NodePort, externalTrafficPolicy: Local, healthCheckNodePort: 32000}`, "internal false external true 0", ""},
		{`{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 32000}`, "internal false external true 32000", ""},
		{`{type: LoadBalancer, externalTrafficPolicy: Local}`, "internal false external true 0", hc + "0"},
		{`{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 99999}`, "internal false external true 0", hc + "99999"},
		{`{type: LoadBalancer, healthCheckNodePort: 32000}`, "internal false external false 0", ""},
		{`{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 32000, ports: [{port: 80, nodePort: 32000}]}`,
			"internal false external true 0", hc + "32000"},
		{`{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 32000, ports: [{port: 80, protocol: UDP, nodePort: 32000}]}`,
			"internal false external true 32000", ""},
	} {
		in := parsed[corev1.Service](t, `spec: `+c.spec)
		in.Spec.ClusterIP = "10.0.0.1"
		if in.Spec.Ports == nil {
			in.Spec.Ports = []corev1.ServicePort{{Port: 80}}
		}
		got, _, problems := FromService(in)
		p := got.Policy
		text := fmt.Sprintf("internal %v external %v %d", p.InternalLocal, p.ExternalLocal, p.HealthCheckNodePort)
		if text != c.want || brief(problems) != c.problems {
			t.Errorf("%s: %s, problems %q; want %s, %q", c.spec, text, brief(problems), c.want, c.problems)
		}
	}
}

// B40: a range that cannot be read never opens the load balancer's address to everybody.
func TestB40SourceRanges(t *testing.T) {
	const field, left = "spec.loadBalancerSourceRanges", "status.loadBalancer.ingress "
	for _, c := range []struct{ ranges, addrs, want, problems string }{
		{`[]`, "192.0.2.1 2001:db8::1", "[]", ""},
		{`[" 10.1.2.3/8"]`, "192.0.2.1 2001:db8::1", "[10.0.0.0/8]", ""},
		{`[0.0.0.0/0, "::/0"]`, "192.0.2.1 2001:db8::1", "[0.0.0.0/0 ::/0]", ""},
		{`[10.0.0.0/33]`, "", "[]", field + "[0] 10.0.0.0/33\n" + left + "192.0.2.1\n" + left + "2001:db8::1"},
		{`[10.0.0.0/33, 10.0.0.0/8]`, "192.0.2.1", "[10.0.0.0/8]", field + "[0] 10.0.0.0/33\n" + left + "2001:db8::1"},
		{`["::ffff:10.0.0.0/104", 10.0.0.0/8, 10.0.0.0/8, "fd00::/8"]`, "192.0.2.1 2001:db8::1", "[10.0.0.0/8 fd00::/8]", field + "[0] ::ffff:10.0.0.0/104"},
		{`[256.0.0.0/8, 10.0.0.1]`, "", "[]", field + "[0] 256.0.0.0/8\n" + field + "[1] 10.0.0.1\n" + left + "192.0.2.1\n" + left + "2001:db8::1"},
	} {
		in := parsed[corev1.Service](t, `{spec: {type: LoadBalancer, clusterIPs: [10.0.0.1, "fd00::1"], ports: [{port: 80}], loadBalancerSourceRanges: `+c.ranges+`},
  status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: "2001:db8::1"}]}}}`)
		got, _, problems := FromService(in)
		if diff := cmp.Diff(addrList(c.addrs), got.VIPs.LoadBalancer, equateNetip()); diff != "" {
			t.Errorf("%s: load-balancer addresses (-want +got):\n%s", c.ranges, diff)
		}
		if text := fmt.Sprint(got.Policy.SourceRanges); text != c.want || brief(problems) != c.problems {
			t.Errorf("%s: %s, problems %q; want %s, %q", c.ranges, text, brief(problems), c.want, c.problems)
		}
	}
}

func TestSourceRangesAnnotationIsNotForNodes(t *testing.T) {
	in := parsed[corev1.Service](t, fullService)
	in.Annotations = map[string]string{corev1.AnnotationLoadBalancerSourceRangesKey: "10.0.0.0/8"}
	if _, _, problems := FromService(in); len(problems) != 0 {
		t.Errorf("with the field set the annotation means nothing: %v", problems)
	}
	in.Spec.LoadBalancerSourceRanges = nil
	got, _, problems := FromService(in)
	if len(got.Policy.SourceRanges) != 0 || len(problems) != 1 || problems[0].Value != "10.0.0.0/8" {
		t.Errorf("ranges %v, problems %v", got.Policy.SourceRanges, problems)
	}
}

func TestB06IngressModes(t *testing.T) {
	in := parsed[corev1.Service](t, `{spec: {type: LoadBalancer, clusterIP: 10.0.0.1, ports: [{port: 80}]},
  status: {loadBalancer: {ingress: [{ip: 192.0.2.1, ipMode: Proxy}, {ip: 192.0.2.2, ipMode: Mirror}, {ip: 127.0.0.1}, {ip: 169.254.9.9}, {ip: "2001:db8::1"}]}}}`)
	got, _, problems := FromService(in)
	if diff := cmp.Diff([]netip.Addr{netip.MustParseAddr("169.254.9.9")}, got.VIPs.LoadBalancer, equateNetip()); diff != "" {
		t.Errorf("load-balancer addresses (-want +got):\n%s", diff)
	}
	want := "status.loadBalancer.ingress[1].ipMode Mirror\nstatus.loadBalancer.ingress[2].ip 127.0.0.1"
	if brief(problems) != want {
		t.Errorf("problems %q, want %q", brief(problems), want)
	}
}

func TestFromUnallocatedServiceFamilies(t *testing.T) {
	for _, c := range []struct{ spec, want, warning string }{
		{`{ports: [{port: 80}]}`, "[IPv4 IPv6]", "cannot be reached"},
		{`{type: NodePort, ports: [{port: 80, nodePort: 30007}]}`, "[IPv4 IPv6]", "other addresses"},
		{`{externalIPs: ["2001:db8::1"], ports: [{port: 80}]}`, "[IPv6]", "other addresses"},
		{`{ipFamilies: [IPv6, IPv4], externalIPs: ["2001:db8::1"], ports: [{port: 80}]}`, "[IPv4 IPv6]", "other addresses"},
		{`{clusterIP: 10.0.0.1, ipFamilies: [IPv4], ports: [{port: 80}]}`, "[IPv4]", ""},
	} {
		got, served, problems := FromUnallocatedService(parsed[corev1.Service](t, `spec: `+c.spec))
		if text := fmt.Sprint(got.Families); !served || text != c.want {
			t.Errorf("%s: served %v, families %s, want %s", c.spec, served, text, c.want)
		}
		warned := len(problems) == 1 && problems[0].Field == "spec.clusterIP" && strings.Contains(problems[0].Reason, c.warning)
		if warned != (c.warning != "") || c.warning == "" && len(problems) > 0 {
			t.Errorf("%s: problems %v", c.spec, problems)
		}
	}
}

// The ClusterIPs decide on the families; what the object says beyond them is named.
func TestFamiliesWithoutClusterIP(t *testing.T) {
	for spec, want := range map[string]string{
		`clusterIP: 10.0.0.1, ipFamilies: [IPv6]`:                         "spec.ipFamilies[0] IPv6",
		`clusterIP: 10.0.0.1, ipFamilies: [IPv4, IPv6]`:                   "spec.ipFamilies[1] IPv6",
		`clusterIP: 10.0.0.1, ipFamilies: [IPX]`:                          "spec.ipFamilies[0] IPX",
		`clusterIPs: [10.0.0.1, "fd00::1"], ipFamilies: [IPv6, IPv4]`:     "",
		`clusterIPs: [10.0.0.1, "fd00::%1"], ipFamilies: [IPv4, IPv6]`:    "spec.clusterIPs[1] fd00::%1",
		`clusterIPs: [10.0.0.1], clusterIP: 10.0.0.1, ipFamilies: [IPv4]`: "",
	} {
		got, _, problems := FromService(parsed[corev1.Service](t, `spec: {`+spec+`, ports: [{port: 80}]}`))
		if brief(problems) != want || !slices.Contains(got.Families, dataplane.IPv4) {
			t.Errorf("%s: families %v, problems %q, want %q", spec, got.Families, brief(problems), want)
		}
	}
}
