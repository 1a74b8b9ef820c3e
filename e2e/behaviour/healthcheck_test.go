package behaviour

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// policy sets externalTrafficPolicy. For Local there is a port for health checks, for Cluster there must be none.
func policy(to corev1.ServiceExternalTrafficPolicy, port int32) func(*corev1.Service) {
	return func(c *corev1.Service) { c.Spec.ExternalTrafficPolicy, c.Spec.HealthCheckNodePort = to, port }
}

// The healthCheckNodePort answers to the world outside how many ready endpoints are on this node, as long as the policy is
// Local: at the node's own address and, as some load balancers ask there, at the load-balancer IP (P16). Whatever else the
// host's firewall drops, it lets these requests through.
func TestB41_HealthCheckNodePort(t *testing.T) {
	t.Parallel()
	// Of those that the API server gives to nobody unasked, so that nobody has them when this Service has not.
	const first, second = 30043, 30044
	s := sharedScene(t)
	service := s.AddService(t, "local", cluster.Type(corev1.ServiceTypeLoadBalancer), policy(corev1.ServiceExternalTrafficPolicyLocal, first))
	service.Expose(t)
	accept := s.dropAtEnd(t, service.Spec.HealthCheckNodePort)
	s.awaitHealth(t, service, 0)
	service.SetEndpoints(t, s.Endpoint(s.web), s.Endpoint(s.client), s.Endpoint(s.far))
	s.awaitHealth(t, service, 2)
	s.Settle(t)
	for _, family := range topology.Families() {
		for _, from := range s.askers(cluster.LoadBalancerIP) {
			for _, kind := range []cluster.Kind{cluster.NodePort, cluster.LoadBalancerIP} {
				at := netip.AddrPortFrom(service.Address(kind, family), uint16(service.Spec.HealthCheckNodePort))
				if err := healthIs(from.from, at, service, 2); err != nil {
					t.Errorf("from the %s, at its %s: %v", from.name, kind, err)
				}
			}
		}
	}
	service.SetEndpoints(t, s.Endpoint(s.web), s.Endpoint(s.client).Unready(), s.Endpoint(s.far))
	s.awaitHealth(t, service, 1)
	service.SetEndpoints(t, s.Endpoint(s.web).Terminating(), s.Endpoint(s.far))
	s.awaitHealth(t, service, 0)
	service.SetEndpoints(t, s.Endpoint(s.web), s.Endpoint(s.far))
	s.awaitHealth(t, service, 1)

	accept() // what is refused from now on is refused because nobody listens
	service.Update(t, policy(corev1.ServiceExternalTrafficPolicyCluster, 0))
	s.awaitNoHealth(t, first)
	service.Update(t, policy(corev1.ServiceExternalTrafficPolicyLocal, second))
	s.awaitHealth(t, service, 1)
	service.Delete(t)
	s.awaitNoHealth(t, second)
}

// A port that something else on the node has is told of, and answers once it is free. Other Services do not wait for it.
func TestB41_HealthCheckNodePortInUse(t *testing.T) {
	t.Parallel()
	// Below those that the API server gives out by itself.
	const taken, other = 30041, 30042
	s := sharedScene(t)
	occupant, err := s.Node.Listen(topology.TCP, netip.AddrPortFrom(netip.IPv4Unspecified(), taken))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = occupant.Close() })
	services := map[int32]*cluster.Service{}
	for _, port := range []int32{taken, other} {
		services[port] = s.AddService(t, "local", cluster.Type(corev1.ServiceTypeLoadBalancer),
			policy(corev1.ServiceExternalTrafficPolicyLocal, port))
		services[port].SetEndpoints(t, s.Endpoint(s.web))
	}
	s.awaitHealth(t, services[other], 1)
	cluster.Await(t, "the daemon's message", func() error {
		for line := range strings.Lines(s.daemon.Output()) {
			if strings.Contains(line, "Service "+s.Namespace+"/"+services[taken].Name+": spec.healthCheckNodePort") &&
				strings.Contains(line, "address already in use") {
				return nil
			}
		}
		return fmt.Errorf("nothing is said of port %d", taken)
	})
	_ = occupant.Close()
	s.awaitHealth(t, services[taken], 1)
}

// dropAtEnd has the node drop packets to a port that reach the end of its INPUT chains, until accept is called or the test
// ends.
func (s *scene) dropAtEnd(t *testing.T, port int32) (accept func()) {
	t.Helper()
	rule := []string{"INPUT", "-p", "tcp", "--dport", fmt.Sprint(port), "-j", "DROP"}
	for _, program := range []string{"iptables", "ip6tables"} {
		cluster.Run(t, s.Node.Netns, append([]string{program, "-w", "-A"}, rule...)...)
	}
	accept = sync.OnceFunc(func() {
		for _, program := range []string{"iptables", "ip6tables"} {
			// The test's own context may have ended.
			remove := s.Node.Command(context.WithoutCancel(t.Context()), program, append([]string{"-w", "-D"}, rule...)...)
			if err := remove.Run(); err != nil {
				t.Errorf("%s -D %s: %v", program, strings.Join(rule, " "), err)
			}
		}
	})
	t.Cleanup(accept)
	return accept
}

// awaitHealth waits until the node answers the world outside that a Service has so many endpoints on it.
func (s *scene) awaitHealth(t *testing.T, service *cluster.Service, count int) {
	t.Helper()
	for _, family := range topology.Families() {
		at := netip.AddrPortFrom(s.Node.Address(family), uint16(service.Spec.HealthCheckNodePort))
		cluster.Await(t, fmt.Sprintf("%d endpoints at %s", count, at), func() error {
			return healthIs(s.Client.Netns, at, service, count)
		})
	}
}

// awaitNoHealth waits until nobody listens on a port of the node.
func (s *scene) awaitNoHealth(t *testing.T, port int32) {
	t.Helper()
	for _, family := range topology.Families() {
		cluster.AwaitError(t, s.Node.Netns, probe.To(topology.TCP, s.Node.Address(family), uint16(port)), probe.ErrRefused)
	}
}

// patience is how long an answer over HTTP may take.
const patience = 30 * time.Second

// healthIs asks a healthCheckNodePort and compares the answer with what kube-proxy answers.
func healthIs(from *topology.Netns, at netip.AddrPort, service *cluster.Service, count int) error {
	response, err := from.HTTPClient(patience).Get("http://" + at.String() + "/healthz")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var body any
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		return err
	}
	status := http.StatusOK
	if count == 0 {
		status = http.StatusServiceUnavailable
	}
	header := func(name string) string { return response.Header.Get(name) }
	return differs(
		fmt.Sprintf("%d application/json nosniff %d map[localEndpoints:%d service:map[name:%s namespace:%s] serviceProxyHealthy:true]",
			status, count, count, service.Name, service.Namespace),
		fmt.Sprintf("%d %s %s %s %v", response.StatusCode, header("Content-Type"), header("X-Content-Type-Options"),
			header("X-Load-Balancing-Endpoint-Weight"), body))
}

// A load balancer that needs no node ports gets none, until they are asked for. Its IPs come, change and go on a live
// Service: each is served and bound for as long as the status has it.
func TestB42_LoadBalancerIPsWithoutNodePorts(t *testing.T) {
	t.Parallel()
	const target = 9421
	s := sharedScene(t)
	backend.StartAll(t, s.web.Netns, target, topology.Protocols()...)
	var ports []corev1.ServicePort
	for _, protocol := range topology.Protocols() {
		ports = append(ports, portOf(strings.ToLower(string(protocol)), protocol, cluster.ServicePort, target))
	}
	service := s.AddService(t, "bare", cluster.Type(corev1.ServiceTypeLoadBalancer), allocate(false), func(c *corev1.Service) { c.Spec.Ports = ports })
	service.SetEndpoints(t, s.Endpoint(s.web))
	first, second := addressesOf(service, cluster.LoadBalancerIP), addressesOf(service, cluster.ExternalIP)
	for _, step := range []struct{ there, gone []netip.Addr }{
		{first, second}, {slices.Concat(first, second), nil}, {second, first}, {nil, slices.Concat(first, second)},
	} {
		setIngress(t, service, step.there)
		s.checkServed(t, service, step.there, step.gone)
		s.checkAt(t, target, slices.Concat(ipsOf(service), step.there))
	}
	service.Update(t, allocate(true))
	service.Update(t, cluster.Number(30046))
	ways := cluster.Ways(cluster.NodePort)
	s.await(t, service, "web", ways...)
	var nodePorts []probe.Target
	for _, way := range ways {
		nodePorts = append(nodePorts, service.Target(way))
	}
	service.Update(t, allocate(false))
	for _, target := range nodePorts {
		cluster.AwaitError(t, s.Client.Netns, target, probe.ErrRefused)
	}
	s.checkAt(t, target, ipsOf(service))
}

// allocate says whether a load balancer needs node ports; if not, those there are go.
func allocate(yes bool) func(*corev1.Service) {
	return func(c *corev1.Service) {
		c.Spec.AllocateLoadBalancerNodePorts = &yes
		for i := range c.Spec.Ports {
			c.Spec.Ports[i].NodePort = 0
		}
	}
}

// addressesOf are a Service's addresses of a kind.
func addressesOf(service *cluster.Service, kind cluster.Kind) []netip.Addr {
	var all []netip.Addr
	for _, family := range topology.Families() {
		all = append(all, service.Address(kind, family))
	}
	return all
}

// setIngress gives a Service load-balancer IPs, instead of those it has.
func setIngress(t *testing.T, service *cluster.Service, addresses []netip.Addr) {
	t.Helper()
	service.UpdateStatus(t, func(status *corev1.ServiceStatus) {
		status.LoadBalancer.Ingress = nil
		for _, addr := range addresses {
			status.LoadBalancer.Ingress = append(status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: addr.String()})
		}
	})
}

// checkServed waits until a Service is served at some addresses, and checks that it is not at others.
func (s *scene) checkServed(t *testing.T, service *cluster.Service, there, gone []netip.Addr) {
	t.Helper()
	for _, addr := range there {
		for _, protocol := range topology.Protocols() {
			cluster.AwaitAnswer(t, s.Client.Netns, probe.To(protocol, addr, cluster.ServicePort), "web")
		}
	}
	s.Settle(t)
	if len(gone) > 0 {
		s.checkNothing(t, gone...)
	}
	for _, addr := range gone {
		unanswered(t, s.Client.Netns, probe.To(topology.TCP, addr, cluster.ServicePort))
	}
	bound := cluster.Run(t, s.Node.Netns, "ip", "addr", "show", "dev", "kube-ipvs0")
	for _, addr := range there {
		if !strings.Contains(bound, " "+addr.String()+"/") {
			t.Errorf("%s is served and not bound", addr)
		}
	}
}

// checkAt checks that virtual servers at the addresses and no others lead to a target port.
func (s *scene) checkAt(t *testing.T, target uint16, addresses []netip.Addr) {
	t.Helper()
	cluster.Await(t, fmt.Sprintf("the virtual servers of port %d", target), func() error {
		found := map[netip.Addr]bool{}
		for line := range strings.Lines(s.IPVS(t)) {
			fields := strings.Fields(line) // -a PROTOCOL VIRTUAL -r REAL …
			if fields[0] != "-a" || !strings.HasSuffix(fields[4], fmt.Sprintf(":%d", target)) {
				continue
			}
			if at, err := netip.ParseAddrPort(fields[2]); err == nil { // a firewall mark is none
				found[at.Addr()] = true
			}
		}
		for _, addr := range addresses {
			if !found[addr] {
				return fmt.Errorf("none at %s", addr)
			}
			delete(found, addr)
		}
		if len(found) > 0 {
			return fmt.Errorf("some at %v, too", found)
		}
		return nil
	})
}
