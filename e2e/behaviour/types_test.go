package behaviour

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// A Service goes through the types, up and down, and each time the table has what the type asks for, and no more.
func TestB07_TypeChanges(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	service := s.Create(t, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "changing"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeExternalName, ExternalName: "elsewhere.example.com", Ports: cluster.Ports(cluster.ServicePort, topology.Protocols()...)}})
	turnInto(t, service, corev1.ServiceTypeClusterIP)
	service.SetEndpoints(t, s.Endpoint(s.web))
	clusterIPs := s.checkType(t, service, cluster.ClusterIP)

	turnInto(t, service, corev1.ServiceTypeNodePort)
	service.Update(t, cluster.Number(30047))
	s.checkType(t, service, cluster.ClusterIP, cluster.NodePort)

	turnInto(t, service, corev1.ServiceTypeLoadBalancer)
	service.Expose(t)
	s.checkType(t, service, cluster.Kinds()...)

	var nodePorts []probe.Target
	for _, way := range cluster.Ways(cluster.NodePort) {
		nodePorts = append(nodePorts, service.Target(way))
	}
	service.Update(t, func(c *corev1.Service) { c.Spec.ExternalIPs = nil })
	turnInto(t, service, corev1.ServiceTypeClusterIP)
	s.checkType(t, service, cluster.ClusterIP)
	for _, target := range nodePorts {
		refused(t, s.Client.Netns, target)
	}

	turnInto(t, service, corev1.ServiceTypeExternalName)
	s.Settle(t)
	s.checkNothing(t, slices.DeleteFunc(clusterIPs, func(addr netip.Addr) bool { return s.GivenAway(t, addr, service) })...)

	turnInto(t, service, corev1.ServiceTypeLoadBalancer)
	service.Expose(t)
	s.checkType(t, service, cluster.Kinds()...)
}

// checkType waits until the table has the Service's ways of the kinds, tries them, and checks that the other kinds are
// not there. It returns the ClusterIPs.
func (s *scene) checkType(t *testing.T, service *cluster.Service, kinds ...cluster.Kind) []netip.Addr {
	t.Helper()
	ways := cluster.Ways(kinds...)
	want := table(service, ways, "rr", s.web)
	var virtual []netip.Addr
	for _, family := range topology.Families() {
		for _, kind := range []cluster.Kind{cluster.ClusterIP, cluster.ExternalIP, cluster.LoadBalancerIP} {
			virtual = append(virtual, service.Address(kind, family))
		}
	}
	// Other tests' NodePorts are at the node's address as well; awaitTable looks at this Service's.
	s.AwaitIPVS(t, cluster.TableOf(want, virtual...), virtual...)
	s.awaitTable(t, service, ways, "rr", s.web)
	s.await(t, service, "web", ways...)
	return ipsOf(service)
}

// checkNothing checks that addresses are neither in the table nor bound.
func (s *scene) checkNothing(t *testing.T, addresses ...netip.Addr) {
	t.Helper()
	if len(addresses) == 0 {
		return
	}
	if text := s.IPVS(t, addresses...); text != "" {
		t.Errorf("nothing is wanted at %s, the table has:\n%s", addresses, text)
	}
	bound := cluster.Run(t, s.Node.Netns, "ip", "addr", "show", "dev", "kube-ipvs0")
	for _, addr := range addresses {
		if strings.Contains(bound, " "+addr.String()+"/") {
			t.Errorf("%s is still bound", addr)
		}
	}
}

// A headless Service programs nothing, nor does one that another proxy is to serve, nor a slice of a headless Service;
// labels count when they appear and vanish, too.
func TestB07_B08_ServicesOfOthers(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	const others = "service.kubernetes.io/service-proxy-name"
	headless := s.AddService(t, "headless", func(c *corev1.Service) {
		c.Spec.ClusterIP, c.Spec.Ports = corev1.ClusterIPNone, []corev1.ServicePort{portOf("a", topology.TCP, 80, 17711)}
	})
	headless.SetEndpoints(t, s.Endpoint(s.web))
	labelled := s.AddService(t, "labelled", func(c *corev1.Service) { c.Labels = map[string]string{others: "somebody"} })
	labelled.SetEndpoints(t, s.Endpoint(s.web))
	ways := cluster.Ways(cluster.ClusterIP)
	ips := ipsOf(labelled)
	s.Settle(t)
	if text := s.IPVS(t); strings.Contains(text, ":17711") {
		t.Errorf("the headless Service is in the table:\n%s", text)
	}
	s.checkNothing(t, ips...)

	labelled.Update(t, func(c *corev1.Service) { delete(c.Labels, others) })
	s.AwaitIPVS(t, table(labelled, ways, "rr", s.web), ips...)

	labelled.LabelSlices(t, map[string]string{corev1.IsHeadlessService: ""})
	s.AwaitIPVS(t, table(labelled, nil, "rr"), ips...)
	labelled.LabelSlices(t, nil)
	s.AwaitIPVS(t, table(labelled, ways, "rr", s.web), ips...)

	labelled.Update(t, func(c *corev1.Service) { c.Labels = map[string]string{others: "somebody"} })
	s.Settle(t)
	s.checkNothing(t, ips...)
}

// turnInto changes a Service to a type.
func turnInto(t *testing.T, service *cluster.Service, kind corev1.ServiceType) {
	t.Helper()
	service.Update(t, func(c *corev1.Service) {
		dual := corev1.IPFamilyPolicyRequireDualStack
		c.Spec.Type, c.Spec.ExternalName, c.Spec.IPFamilyPolicy = kind, "", &dual
		if kind == corev1.ServiceTypeExternalName {
			c.Spec.ExternalName = "elsewhere.example.com"
			c.Spec.IPFamilyPolicy, c.Spec.IPFamilies, c.Spec.ClusterIP, c.Spec.ClusterIPs = nil, nil, "", nil
		}
	})
}
