package main

import (
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"
)

func twoEndpoints() manifest {
	return manifest{endpoints: []endpoint{
		{"web-1", "node-1", netip.MustParseAddr("10.244.1.2"), ready},
		{"web-2", "node-2", netip.MustParseAddr("10.244.2.2"), ready},
	}}
}

func TestManifestIsWhatKubernetesReads(t *testing.T) {
	m := twoEndpoints()
	m.terminate("web-2")
	documents := strings.Split(m.text(), "---\n")
	var service corev1.Service
	var slice discoveryv1.EndpointSlice
	if err := yaml.UnmarshalStrict([]byte(documents[0]), &service); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(documents[1]), &slice); err != nil {
		t.Fatal(err)
	}
	if port := service.Spec.Ports[0]; service.Spec.ClusterIP != "10.96.0.10" || port.Port != 80 || port.NodePort != 30080 {
		t.Errorf("the Service is %+v", service.Spec)
	}
	last := slice.Endpoints[1]
	if last.Addresses[0] != "10.244.2.2" || *last.NodeName != "node-2" || *last.Conditions.Ready || !*last.Conditions.Serving || !*last.Conditions.Terminating {
		t.Errorf("the second endpoint is %+v, want a terminating one", last)
	}
}

func TestManifestSaysWhatTheKernelShallHave(t *testing.T) {
	m := twoEndpoints()
	m.terminate("web-2")
	want := map[string]int{"10.244.1.2:8080": 1, "10.244.2.2:8080": 0}
	if diff := cmp.Diff(want, m.weights()); diff != "" {
		t.Errorf("weights (-want +got):\n%s", diff)
	}
	if got := m.serving(); !slices.Equal(got, []string{"web-1"}) {
		t.Errorf("serving: %q", got)
	}
	m.remove("web-2")
	if got := len(m.weights()); got != 1 {
		t.Errorf("%d real servers after one of two was removed", got)
	}
}

func TestTableOfIpvsadm(t *testing.T) {
	got, err := parseTable(`IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  172.18.0.11:30080 rr persistent 10800
  -> 10.244.1.2:8080              Masq    1      0          10
  -> 10.244.2.2:8080              Masq    0      1          10
TCP  10.96.0.10:80 rr
`)
	if err != nil {
		t.Fatal(err)
	}
	want := table{"172.18.0.11:30080": {"10.244.1.2:8080": 1, "10.244.2.2:8080": 0}, "10.96.0.10:80": {}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table (-want +got):\n%s", diff)
	}
	if err := got.check(want["172.18.0.11:30080"], "172.18.0.11:30080"); err != nil {
		t.Error(err)
	}
	if err := got.check(want["172.18.0.11:30080"], "172.18.0.11:30080", "10.96.0.10:80"); err == nil {
		t.Error("a virtual server without its real servers passes the check")
	}
}

func TestEvenly(t *testing.T) {
	pods := []string{"a", "b"}
	if err := evenly(map[string]int{"a": 5, "b": 5}, pods); err != nil {
		t.Error(err)
	}
	for _, answers := range []map[string]int{nil, {"a": 6, "b": 4}, {"a": 5, "b": 4, "c": 1}, {"a": 10}} {
		if evenly(answers, pods) == nil {
			t.Errorf("%v passes as even for %q", answers, pods)
		}
	}
}

func TestAMissingDaemonIsSaidAtOnce(t *testing.T) {
	err := run(t.Context(), t.TempDir()+"/none", false, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("run returned %v, want the advice to run make build", err)
	}
}
