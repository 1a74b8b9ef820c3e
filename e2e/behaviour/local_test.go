package behaviour

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// toLocal is externalTrafficPolicy Local.
func toLocal(c *corev1.Service) {
	c.Spec.Type = corev1.ServiceTypeLoadBalancer
	c.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

// tellPods has the daemon tell pods by their addresses.
const tellPods = "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48"

// reaches asks from somewhere until each of the backends has answered, and checks that no other does.
func reaches(t *testing.T, from *topology.Netns, target probe.Target, names ...string) {
	t.Helper()
	cluster.Await(t, target.String()+" from "+from.Name, func() error {
		tally, err := probe.AskN(t.Context(), from, target, 4)
		if got := slices.Sorted(maps.Keys(tally.Backends)); err == nil && !slices.Equal(got, slices.Sorted(slices.Values(names))) {
			err = fmt.Errorf("answers are from %s, want %s", tally, names)
		}
		return err
	})
}

// Under externalTrafficPolicy Local, clients outside get the endpoints of this node and keep their address; pods and the
// node get those of all nodes. Without an endpoint here, those outside get no answer; without one anywhere, nobody does,
// and is told so.
func TestB24_P26_ExternalTrafficPolicyLocal(t *testing.T) {
	t.Parallel()
	s := newScene(t, tellPods)
	service := s.AddService(t, "local", toLocal)
	service.Expose(t)
	ways := cluster.Ways(cluster.ExternalIP, cluster.LoadBalancerIP, cluster.NodePort)

	service.SetEndpoints(t, s.both()...)
	s.Settle(t)
	s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
		if from.name != "outside" {
			reaches(t, from.from, service.Target(way), "web", "far")
			return
		}
		reaches(t, from.from, service.Target(way), "web")
		sees(t, ask(t, from.from, service.Target(way)), s.Client.Address(way.Family))
	})

	service.SetEndpoints(t, s.Endpoint(s.far))
	s.Settle(t)
	s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
		if from.name != "outside" {
			answer := cluster.AwaitAnswer(t, from.from, service.Target(way), "far")
			if from.name == "pod" && way.Kind != cluster.NodePort {
				sees(t, answer, addressOf(s.client, way.Family))
			} else {
				sees(t, answer, s.nodeAddresses(way.Family)...)
			}
			return
		}
		silent(t, from.from, service.Target(way))
	})
	// Network policies put marks of their own on packets, after ours and before IPVS.
	for _, tool := range []string{"iptables", "ip6tables"} {
		foreign := []string{"INPUT", "-j", "MARK", "--set-xmark", "0x100000/0xfff00000"}
		cluster.Run(t, s.Node.Netns, append([]string{tool, "-w", "-I"}, foreign...)...)
	}
	for _, way := range cluster.Of(ways, topology.TCP) {
		if answer := ask(t, s.client.Netns, service.Target(way)); answer.Backend != "far" {
			t.Errorf("with a foreign mark, %s answers to %s", answer.Backend, way)
		}
		silent(t, s.Client.Netns, service.Target(way))
	}

	service.SetEndpoints(t)
	s.Settle(t)
	s.everyWay(t, cluster.Of(ways, topology.TCP, topology.UDP), func(t *testing.T, way cluster.Way, from asker) {
		refusedWithin(t, from.from, service.Target(way), lost)
	})
}

// addressOf is the address of a pod.
func addressOf(pod *topology.Pod, family topology.Family) netip.Addr {
	if family == topology.IPv6 {
		return pod.IPv6
	}
	return pod.IPv4
}

// Affinity holds inside and outside; the policy, the affinity and the endpoints change live; a restart changes nothing.
func TestB24_LocalWithAffinityAndLiveChanges(t *testing.T) {
	t.Parallel()
	s := newScene(t, tellPods)
	service := s.AddService(t, "local", toLocal, affinity(10800))
	service.Expose(t)
	service.SetEndpoints(t, s.both()...)
	s.Settle(t)
	ways := cluster.Of(cluster.Ways(cluster.LoadBalancerIP, cluster.NodePort), topology.TCP)
	s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
		first := ask(t, from.from, service.Target(way)).Backend
		reaches(t, from.from, service.Target(way), first)
	})

	own := s.marksOf(t, service)
	before := s.marked(t, own)
	s.daemon.Restart(t, tellPods)
	s.Settle(t)
	if diff := cmp.Diff(before, s.marked(t, own)); diff != "" || before == "" {
		t.Errorf("a restart changed the virtual servers with marks:\n%s", diff)
	}

	service.Update(t, affinity(0))
	s.Settle(t)
	for _, way := range ways {
		reaches(t, s.client.Netns, service.Target(way), "web", "far")
	}
	service.Update(t, func(c *corev1.Service) { c.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster })
	s.Settle(t)
	s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
		reaches(t, from.from, service.Target(way), "web", "far")
	})
	if table := s.marked(t, own); strings.Contains(table, "-w 1") {
		t.Errorf("with policy Cluster, more than connections from before go to firewall marks:\n%s", table)
	}
}

// marksOf are the marks of packets to a Service's load-balancer IPs, as ipvsadm writes them, with and without masquerading.
func (s *scene) marksOf(t *testing.T, service *cluster.Service) map[string]bool {
	t.Helper()
	marks := map[string]bool{}
	for _, family := range topology.Families() {
		at := service.Address(cluster.LoadBalancerIP, family).String() + ","
		for line := range strings.Lines(cluster.Run(t, s.Node.Netns, "ipset", "save")) {
			fields := strings.Fields(line)
			if len(fields) == 5 && strings.HasSuffix(fields[1], "INTERNAL-MARK") && strings.HasPrefix(fields[2], at) {
				number, _, _ := strings.Cut(fields[4], "/")
				mark, err := strconv.ParseUint(number, 0, 32)
				if err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				marks[fmt.Sprint(mark)], marks[fmt.Sprint(mark|0x4000)] = true, true
			}
		}
	}
	return marks
}

// marked are the lines of the table about some marks. Other tests' Services have marks, too.
func (s *scene) marked(t *testing.T, marks map[string]bool) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(s.IPVS(t)) {
		if fields := strings.Fields(line); fields[1] == "-f" && marks[fields[2]] {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// silent checks that a question gets no answer, not even a refusal.
func silent(t *testing.T, from *topology.Netns, target probe.Target) {
	t.Helper()
	if answer, err := probe.Ask(t.Context(), from, shortly(target)); !errors.Is(err, probe.ErrTimeout) {
		t.Errorf("%s from %s: %+v, %v; want no answer of any kind", target, from.Name, answer, err)
	}
}

// loadBalancerSourceRanges hold for the node, too: its packets never pass the filter of INPUT.
func TestB40_P20_SourceRangesForTheNode(t *testing.T) {
	t.Parallel()
	s := newScene(t, tellPods)
	service := s.AddService(t, "ranges", cluster.Type(corev1.ServiceTypeLoadBalancer))
	service.Expose(t)
	service.SetEndpoints(t, s.both()...)
	ways, all := cluster.Ways(cluster.LoadBalancerIP), []string{"pod", "node", "outside"}
	client := []string{alone(s.Client.IPv4).String(), alone(s.Client.IPv6).String()}
	for _, step := range []struct {
		ranges []string
		served []string
		six    []string // if others than on IPv4
	}{
		{ranges: []string{"10.244.0.0/16", "fd00:10:244::/48"}, served: []string{"pod"}},
		{ranges: []string{"172.18.0.0/24", "fd00:172:18::/64"}, served: []string{"node", "outside"}},
		{ranges: []string{"10.244.0.0/16"}, served: []string{"pod"}, six: all}, // the other family is not limited
		{ranges: client, served: []string{"outside"}},
		{ranges: []string{"0.0.0.0/0", "::/0"}, served: all},
		{served: all},
	} {
		service.Update(t, func(c *corev1.Service) { c.Spec.LoadBalancerSourceRanges = step.ranges })
		s.Settle(t)
		s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
			served := step.served
			if way.Family == topology.IPv6 && step.six != nil {
				served = step.six
			}
			if slices.Contains(served, from.name) {
				ask(t, from.from, service.Target(way))
			} else if _, err := probe.Ask(t.Context(), from.from, shortly(service.Target(way))); err == nil {
				t.Errorf("with ranges %s it is served", step.ranges)
			}
		})
	}
}

// The node is who its own packets say it is: from a socket bound to one of its addresses that address has to be allowed,
// and else, since what it sends to a virtual address comes from that very address, the one by which others know the node.
func TestB40_WhoTheNodeIs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	service := s.AddService(t, "ranges", cluster.Type(corev1.ServiceTypeLoadBalancer))
	service.Expose(t)
	service.SetEndpoints(t, s.both()...)
	for _, way := range cluster.Of(cluster.Ways(cluster.LoadBalancerIP), topology.TCP) {
		other := netip.MustParsePrefix(map[topology.Family]string{topology.IPv4: "172.31.9.9/32", topology.IPv6: "fd00:172:31::9/128"}[way.Family])
		s.Node.AddAddress(t, other)
		service.Update(t, func(c *corev1.Service) { c.Spec.LoadBalancerSourceRanges = []string{other.String()} })
		s.Settle(t)
		target := service.Target(way)
		if route := cluster.Run(t, s.Node.Netns, "ip", "route", "get", target.AddrPort.Addr().String()); !strings.Contains(route, "src "+target.AddrPort.Addr().String()) {
			t.Errorf("%s: the node speaks to the address not from itself: %s", way, route)
		}
		if _, err := probe.Ask(t.Context(), s.Node.Netns, shortly(target)); err == nil {
			t.Errorf("%s: an unbound socket of the node is served, though its IP is not in %s", way, other)
		}
		target.LocalAddr = other.Addr()
		ask(t, s.Node.Netns, target)
	}
}

// shortly is a target that is not waited for long.
func shortly(target probe.Target) probe.Target {
	target.Timeout = soon
	return target
}
