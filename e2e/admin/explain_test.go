package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// tellPods has the daemon tell pods by their addresses.
const tellPods = "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48"

// explanation is what explain -o json says, as far as packets can tell.
type explanation struct {
	Found   bool
	Service struct {
		Namespace, Name string
		Kinds           []string
	}
	Clients []struct {
		Verdict     string
		Masqueraded bool
		Endpoints   []struct {
			Address netip.AddrPort
			Chosen  bool
		}
	}
}

// quarter is a cluster with Services of which each leaves some clients without an answer.
type quarter struct {
	*cluster.Cluster
	binary string
	flags  []string
	asker  *topology.Pod
}

func newQuarter(t *testing.T) (quarter, map[string]*cluster.Service) {
	t.Helper()
	q := quarter{binary: cluster.Binary(t), Cluster: cluster.New(t, topology.Options{})}
	q.flags = []string{"--kubeconfig=" + os.Getenv("KUBECONFIG"), "--hostname-override=" + q.NodeName(q.Node), "--conntrack-max-per-core=0", tellPods}
	q.asker = q.Node.AddPod(t, "asker")
	q.StartDaemon(t, tellPods)
	here, there := q.Endpoint(q.AddServer(t, q.Node, "here")), q.Endpoint(q.AddServer(t, q.Node2, "there"))
	services := map[string]*cluster.Service{}
	for name, made := range map[string]struct {
		change func(*corev1.Service)
		behind []cluster.Endpoint
	}{
		"plain": {func(*corev1.Service) {}, []cluster.Endpoint{here, there}},
		"empty": {func(*corev1.Service) {}, []cluster.Endpoint{here.Unready()}},
		"away":  {func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }, []cluster.Endpoint{there}},
		"local": {func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }, []cluster.Endpoint{here, there}},
		"ranged": {func(s *corev1.Service) {
			s.Spec.LoadBalancerSourceRanges = []string{q.Client.IPv4.String() + "/32", q.Client.IPv6.String() + "/128"}
		}, []cluster.Endpoint{here}},
	} {
		one := q.AddService(t, name, cluster.Type(corev1.ServiceTypeLoadBalancer), made.change,
			func(s *corev1.Service) { s.Spec.Ports = cluster.Ports(cluster.ServicePort, topology.TCP, topology.UDP) })
		one.Expose(t)
		one.SetEndpoints(t, made.behind...)
		services[name] = one
	}
	q.Settle(t)
	return q, services
}

// explain asks what becomes of what a client sends to an address.
func (q quarter) explain(t *testing.T, to probe.Target, from netip.Addr) (explanation, int) {
	t.Helper()
	asked := fmt.Sprintf("%s/%s", to.AddrPort, strings.ToLower(string(to.Protocol)))
	status, printed, complaints := ask(t, q.Node.Netns, q.binary, append([]string{"explain", asked, "--from=" + from.String(), "-o", "json"}, q.flags...)...)
	var said explanation
	if err := json.Unmarshal([]byte(printed), &said); err != nil || len(said.Clients) > 1 {
		t.Fatalf("explain %s: status %d, %v\n%s%s", asked, status, err, printed, complaints)
	}
	return said, status
}

// What explain says of a client is what happens to its packets: who answers, which address the endpoint sees, and in which
// way others are turned away.
func TestExplainAgreesWithPackets(t *testing.T) {
	t.Parallel()
	q, services := newQuarter(t)
	verdicts := map[string]int{}
	for name, one := range services {
		for _, way := range cluster.Of(cluster.Ways(cluster.ClusterIP, cluster.LoadBalancerIP, cluster.NodePort), topology.TCP) {
			target := one.Target(way)
			askers := map[*topology.Netns]netip.Addr{q.asker.Netns: q.asker.Address(way.Family),
				q.Node.Netns: target.AddrPort.Addr()} // the kernel takes a local destination for the source, too
			if way.Kind != cluster.ClusterIP { // which the client outside has no route to
				askers[q.Client.Netns] = q.Client.Address(way.Family)
			}
			for asker, addr := range askers {
				said, status := q.explain(t, target, addr)
				if status != 0 || !said.Found || said.Service.Name != one.Name || said.Service.Namespace != q.Namespace {
					t.Fatalf("%s %s: status %d, %+v", name, way, status, said)
				}
				verdict := said.Clients[0].Verdict
				verdicts[verdict]++
				if err := q.holds(t, said, asker, addr, target); err != nil {
					t.Errorf("%s %s from %s: explain says %+v, but %v", name, way, asker.Name, said.Clients[0], err)
				}
			}
		}
	}
	for _, verdict := range []string{"served", "refused", "dropped"} {
		if verdicts[verdict] == 0 {
			t.Errorf("nothing was %s: %v", verdict, verdicts)
		}
	}
}

// silence is how long no answer has to come for packets to count as dropped.
const silence = 3 * time.Second

// holds checks a client's outcome with real packets.
func (q quarter) holds(t *testing.T, said explanation, asker *topology.Netns, addr netip.Addr, target probe.Target) error {
	t.Helper()
	outcome := said.Clients[0]
	ways := map[string]error{"refused": probe.ErrRefused, "dropped": probe.ErrTimeout}
	if way := ways[outcome.Verdict]; way != nil {
		if way == probe.ErrTimeout {
			target.Timeout = silence
		}
		if answer, err := probe.Ask(t.Context(), asker, target); !errors.Is(err, way) {
			return fmt.Errorf("%+v answers, error %w", answer, err)
		}
		return nil
	}
	for range 4 {
		answer, err := probe.Ask(t.Context(), asker, target)
		if err != nil {
			return err
		}
		chosen := false
		for _, endpoint := range outcome.Endpoints {
			chosen = chosen || endpoint.Chosen && endpoint.Address == answer.Server
		}
		own := []netip.Addr{addr}
		if family := topology.FamilyOf(addr); outcome.Masqueraded {
			own = []netip.Addr{q.Node.Address(family), q.Node.PodSubnet(family).Addr().Next()}
		}
		if !chosen || !slices.Contains(own, answer.Client.Addr()) {
			return fmt.Errorf("%s answers, who saw %s", answer.Server, answer.Client)
		}
	}
	return nil
}

// Of addresses at which no Service is served it is said what they are, with a status of its own. What is on kube-ipvs0 is
// refused there.
func TestExplainNoService(t *testing.T) {
	t.Parallel()
	q, services := newQuarter(t)
	plain := services["plain"]
	wrong := plain.Target(cluster.Way{Kind: cluster.ClusterIP, Protocol: topology.TCP, Family: topology.IPv4})
	wrong.AddrPort = netip.AddrPortFrom(wrong.AddrPort.Addr(), 81)
	said, status := q.explain(t, wrong, q.asker.IPv4)
	if status != noService || said.Found || said.Clients[0].Verdict != "refused" {
		t.Errorf("status %d, %+v", status, said)
	}
	if err := q.holds(t, said, q.asker.Netns, q.asker.IPv4, wrong); err != nil {
		t.Error(err)
	}
	for to, says := range map[string]string{
		wrong.AddrPort.String():               plain.Name + " has the address as its ClusterIP, with the ports 80/tcp",
		fmt.Sprintf("%s:1", q.Node.IPv4):      "an address of this node",
		fmt.Sprintf("%s:1", q.Node2.IPv4):     "an address of another node",
		fmt.Sprintf("%s:1/udp", q.asker.IPv4): "a range of pods' addresses",
		"198.51.100.77:80":                    "No Service that this node knows has the address",
	} {
		if status, printed, _ := ask(t, q.Node.Netns, q.binary, "explain", to); status != noService || !strings.Contains(printed, says) {
			t.Errorf("explain %s: status %d, want %d and %q in\n%s", to, status, noService, says, printed)
		}
	}
}

// Without a daemon the flags tell the same.
func TestExplainFromFlags(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	questions := map[string][]string{
		"10.96.0.82:80":      {"a ClusterIP of Service default/idle", "REFUSED", "KUBE-NO-ENDPOINTS 10.96.0.82,tcp:80"},
		"10.96.0.80:443":     {"port b (443)", "SERVED by 6 of 8 endpoints", "its address is of IPv6"},
		"198.51.100.7:80":    {"loadBalancerSourceRanges: 192.0.2.0/24", "A client in loadBalancerSourceRanges (192.0.2.1): SERVED", "DROPPED"},
		"203.0.113.2:80/tcp": {"externalTrafficPolicy: Local", "not on this node; policy Local"},
	}
	said := map[string]string{}
	look := func(when, trailer string) {
		for to, parts := range questions {
			status, printed, complaints := ask(t, n.Netns, n.binary, append([]string{"explain", to}, n.flags()...)...)
			for _, part := range append(parts, trailer) {
				if status != 0 || complaints != "" || !strings.Contains(printed, part) {
					t.Errorf("%s: explain %s: status %d, it lacks %q:\n%s%s", when, to, status, part, printed, complaints)
				}
			}
			printed = strings.TrimSuffix(printed, "\n"+withoutDaemon)
			if before, seen := said[to]; seen && before != printed {
				t.Errorf("explain %s says at first\n%sand %s\n%s", to, before, when, printed)
			}
			said[to] = printed
		}
	}
	look("without a daemon", withoutDaemon)
	n.start(t).serves(t)
	look("with a daemon", "")
}

const withoutDaemon = "No kube-ipvs-proxy runs here: this is what one with these flags would do.\n"
