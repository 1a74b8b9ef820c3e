package behaviour

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// checkedAtNodePort is a Service that no API server would accept beside the one that has the NodePort. It has a ready
// endpoint on this node.
const checkedAtNodePort = `
{kind: Service, apiVersion: v1, metadata: {name: checked, namespace: default%s}, spec: {type: LoadBalancer, externalTrafficPolicy: Local,
  clusterIPs: [10.95.0.41, "fd00:10:95::41"], healthCheckNodePort: %d, allocateLoadBalancerNodePorts: false, ports: [{port: 80}]}}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, metadata: {name: checked-4, namespace: default, labels: {kubernetes.io/service-name: checked}},
  addressType: IPv4, ports: [{port: 8080}], endpoints: [{addresses: [%s], nodeName: %s}]}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, metadata: {name: checked-6, namespace: default, labels: {kubernetes.io/service-name: checked}},
  addressType: IPv6, ports: [{port: 8080}], endpoints: [{addresses: ["%s"], nodeName: %s}]}
`

// IPVS takes the packets to a NodePort before a process of the node sees them. So, of a NodePort and a healthCheckNodePort of
// one number, the older Service's is served and the other one's owner is told; the other protocols have no part in that.
func TestB41_HealthCheckNodePortThatIsANodePort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newScene(t, "--manifests="+dir)
	ported := s.AddService(t, "ported", cluster.Number(30045))
	ported.SetEndpoints(t, s.Endpoint(s.far))
	ways := cluster.Ways(cluster.NodePort)
	s.await(t, ported, "far", ways...)
	checked := &cluster.Service{Service: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "checked"},
		Spec: corev1.ServiceSpec{HealthCheckNodePort: ported.Spec.Ports[0].NodePort}}}
	write := func(created string) {
		text := fmt.Sprintf(checkedAtNodePort, created, checked.Spec.HealthCheckNodePort, s.web.IPv4, s.NodeName(s.Node), s.web.IPv6, s.NodeName(s.Node))
		if err := os.WriteFile(filepath.Join(dir, "checked.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	write("") // without a creation time it is older than all
	s.awaitHealth(t, checked, 1)
	for _, family := range topology.Families() {
		at := netip.AddrPortFrom(s.Node.Address(family), uint16(checked.Spec.HealthCheckNodePort))
		for _, from := range s.askers(cluster.NodePort) {
			if err := healthIs(from.from, at, checked, 1); err != nil {
				t.Errorf("%s from the %s: %v", at, from.name, err)
			}
		}
	}
	others := cluster.Of(ways, topology.UDP, topology.SCTP)
	servedBy(t, "the check is older", ported, s.questions(others), "far")
	cluster.AwaitFor(t, patienceForEvents, "an Event on the Service with the NodePort", func() error {
		for _, event := range ported.Events(t) {
			if event.Reason == "ServiceConflict" && strings.HasPrefix(event.Message, "spec.ports[0].nodePort ") &&
				strings.Contains(event.Message, "Service default/checked ") && strings.Contains(event.Message, "spec.healthCheckNodePort") {
				return nil
			}
		}
		return fmt.Errorf("it has the Events %v", ported.Events(t))
	})

	write(", creationTimestamp: 2099-01-01T00:00:00Z")
	s.await(t, ported, "far", ways...)
	servedBy(t, "the NodePort is older", ported, s.questions(ways), "far")
	said := fmt.Sprintf("Service default/checked: spec.healthCheckNodePort \"%d/TCP\": Service %s/%s", checked.Spec.HealthCheckNodePort, ported.Namespace, ported.Name)
	cluster.Await(t, "the daemon's message", func() error {
		if !strings.Contains(s.daemon.Output(), said) {
			return fmt.Errorf("it does not say %q", said)
		}
		return nil
	})
	ported.Delete(t)
	s.awaitHealth(t, checked, 1)
}
