package behaviour

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// reuses is how often a client's port is used again.
const reuses = 8

// A client that uses its port again at once is served at once, and by nobody who drains: on a kernel that can do both,
// conn_reuse_mode stays at 1. A first packet that is dropped would be sent again, and arrive once.
func TestP07_PortReuse(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	if mode, err := s.Node.Sysctl("net/ipv4/vs/conn_reuse_mode"); err != nil || mode != "1" {
		t.Errorf("conn_reuse_mode is %s, %v; want 1 on a kernel since 5.9 (older ones are not among those tested)", mode, err)
	}
	s.building.Lock()
	client := s.Node.AddPod(t, "reuser")
	s.building.Unlock()
	// The client may use a port of its own that is in TIME_WAIT after a second.
	if err := client.SetSysctl("net/ipv4/tcp_tw_reuse", "1"); err != nil {
		t.Fatal(err)
	}
	service := s.AddService(t, "reused")
	service.SetEndpoints(t, s.both()...)
	ways := cluster.Of(cluster.Ways(cluster.ClusterIP), topology.TCP)
	s.await(t, service, "web", ways...)
	s.await(t, service, "far", ways...)
	var targets []probe.Target
	for i, way := range ways {
		target := service.Target(way)
		target.LocalPort = portTo(t, client.Netns, target, "web", uint16(41000+100*i))
		targets = append(targets, target)
		count := s.firstPackets(t, client.Netns, way.Family, target.LocalPort)
		for range reuses {
			askAgain(t, client.Netns, target)
		}
		// That of each connection would be. One that is only late is sent again, too, and arrives twice.
		sent, arrived := count()
		if lost := sent - arrived; sent < reuses || lost > reuses/2 {
			t.Errorf("%s: of %d first packets in %d connections from one port %d were dropped", way, sent, reuses, lost)
		}
	}
	service.SetEndpoints(t, s.Endpoint(s.web).Terminating(), s.Endpoint(s.far))
	s.awaitDraining(t, service, s.web, ways)
	for _, target := range targets {
		if answer := askAgain(t, client.Netns, target); answer.Backend != "far" {
			t.Errorf("%s from a port used before: %v", target, wrongServer(answer, "far: web drains"))
		}
	}
}

// portTo returns the first port, of those from a number on, from which a backend is reached.
func portTo(t *testing.T, from *topology.Netns, target probe.Target, backend string, number uint16) uint16 {
	t.Helper()
	for port := number; port < number+20; port++ {
		target.LocalPort = port
		if answer := ask(t, from, target); answer.Backend == backend {
			return port
		}
	}
	t.Fatalf("%s from %s: 20 times not to %s", target, from.Name, backend)
	return 0
}

// askAgain asks from a port that may still be in the client's TIME_WAIT, for which it has to be a second old.
func askAgain(t *testing.T, from *topology.Netns, target probe.Target) (answer probe.Answer) {
	t.Helper()
	cluster.Await(t, fmt.Sprintf("%s from port %d", target, target.LocalPort), func() (err error) {
		answer, err = probe.Ask(t.Context(), from, target)
		if err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Fatalf("%s from port %d: %v", target, target.LocalPort, err)
		}
		return err
	})
	return answer
}

// firstPackets counts the first packets of a client's connections from a port: those it sends, and those that reach the endpoints.
func (s *scene) firstPackets(t *testing.T, client *topology.Netns, family topology.Family, port uint16) func() (sent, arrived int) {
	t.Helper()
	program := map[topology.Family]string{topology.IPv4: "iptables", topology.IPv6: "ip6tables"}[family]
	chains := map[*topology.Netns]string{client: "OUTPUT", s.web.Netns: "INPUT", s.far.Netns: "INPUT"}
	rule := []string{"-p", "tcp", "-s", client.Address(family).String(), "--sport", fmt.Sprint(port), "--syn"}
	for in, chain := range chains {
		cluster.Run(t, in, append([]string{program, "-w", "-A", chain}, rule...)...)
		t.Cleanup(func() {
			// The test's own context has ended.
			remove := in.Command(context.WithoutCancel(t.Context()), program, append([]string{"-w", "-D", chain}, rule...)...)
			if err := remove.Run(); err != nil {
				t.Errorf("%s -D %s %s: %v", program, chain, strings.Join(rule, " "), err)
			}
		})
	}
	return func() (sent, arrived int) {
		t.Helper()
		for in, chain := range chains {
			n := counted(t, cluster.Run(t, in, program, "-w", "-nvxL", chain), fmt.Sprintf(" spt:%d ", port))
			if in == client {
				sent += n
			} else {
				arrived += n
			}
		}
		return sent, arrived
	}
}

// counted is the number of packets of the rule with a text, as iptables -vx lists it.
func counted(t *testing.T, listed, text string) int {
	t.Helper()
	for line := range strings.Lines(listed) {
		if fields := strings.Fields(line); strings.Contains(line, text) {
			n, err := strconv.Atoi(fields[0])
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return n
		}
	}
	t.Fatalf("no rule has %q in\n%s", text, listed)
	return 0
}

// awaitDraining waits until a pod is a real server of the Service with weight 0.
func (s *scene) awaitDraining(t *testing.T, service *cluster.Service, pod *topology.Pod, ways []cluster.Way) {
	t.Helper()
	for _, way := range ways {
		want := fmt.Sprintf("-a %s %s -r %s -m -w 0\n", flagOf(way.Protocol), service.Target(way).AddrPort, endpointOf(pod, way.Family))
		cluster.Await(t, "draining", func() error {
			if table := s.IPVS(t, ipsOf(service)...); !strings.Contains(table, want) {
				return fmt.Errorf("want %sin\n%s", want, table)
			}
			return nil
		})
	}
}

// A node whose FORWARD chain drops what nobody accepts still serves: pods to endpoints on other nodes, and clients outside
// to endpoints anywhere.
func TestP28_ForwardPolicyDrop(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	services := map[string]*cluster.Service{"web": s.AddService(t, "near"), "far": s.AddService(t, "far")}
	services["web"].SetEndpoints(t, s.Endpoint(s.web))
	services["far"].SetEndpoints(t, s.Endpoint(s.far))
	ways := cluster.Ways(cluster.Kinds()...)
	for name, service := range services {
		service.Expose(t)
		s.await(t, service, name, ways...)
	}
	for _, program := range []string{"iptables", "ip6tables"} {
		cluster.Run(t, s.Node.Netns, program, "-w", "-P", "FORWARD", "DROP")
	}
	for _, family := range topology.Families() {
		unanswered(t, s.client.Netns, probe.To(topology.TCP, s.far.Address(family), cluster.TargetPort)) // the policy works
	}
	s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
		for name, service := range services {
			if answer := ask(t, from.from, service.Target(way)); answer.Backend != name {
				t.Error(wrongServer(answer, name))
			}
		}
	})
	for _, chain := range []string{"INPUT", "OUTPUT"} {
		t.Run("and "+chain, func(t *testing.T) { s.accepted(t, services["far"], chain) })
	}
}

// accepted drops in a chain what nobody accepts. IPVS takes packets from INPUT and sends them through OUTPUT, where the
// daemon accepts nothing in the operator's name, as kube-proxy does not in its ipvs mode. Two rules are enough.
func (s *scene) accepted(t *testing.T, service *cluster.Service, chain string) {
	for program, set := range map[string]string{"iptables": "KUBE-CLUSTER-IP", "ip6tables": "KUBE-6-CLUSTER-IP"} {
		run := func(arguments ...string) {
			cluster.Run(t, s.Node.Netns, append([]string{program, "-w"}, arguments...)...)
		}
		way := cluster.Way{Kind: cluster.ClusterIP, Protocol: topology.TCP, Family: topology.IPv4}
		if program == "ip6tables" {
			way.Family = topology.IPv6
			run("-A", chain, "-p", "ipv6-icmp", "-j", "ACCEPT") // neighbour discovery
		}
		run("-A", chain, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT")
		run("-P", chain, "DROP")
		unanswered(t, s.client.Netns, service.Target(way))
		if chain == "INPUT" {
			run("-A", chain, "-m", "set", "--match-set", set, "dst,dst", "-j", "ACCEPT")
		} else {
			run("-A", chain, "-m", "ipvs", "--ipvs", "-j", "ACCEPT")
		}
		ask(t, s.client.Netns, service.Target(way))
		run("-P", chain, "ACCEPT")
	}
}

// ipvs.udpTimeout is when a silent UDP flow ends: IPVS's own entry and conntrack's go together, neither outlives the
// other, and the client's next packet is a new flow. A longer one lengthens conntrack's timeouts too.
func TestP32_UDPTimeout(t *testing.T) {
	t.Parallel()
	const short, long = 2, 400 // seconds
	s := newScene(t, fmt.Sprintf("--ipvs-udp-timeout=%ds", short))
	service := s.AddService(t, "silent")
	service.SetEndpoints(t, s.both()...)
	for _, way := range cluster.Of(cluster.Ways(cluster.ClusterIP), topology.UDP) {
		s.await(t, service, "web", way)
		session, err := probe.Open(t.Context(), s.client.Netns, service.Target(way))
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		first, err := session.Ask(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cluster.Await(t, "the end of the flow", func() error {
			ipvs, conntrack := s.flow(t, way.Family, session.LocalAddr())
			if ipvs != 0 || conntrack != 0 {
				return fmt.Errorf("IPVS keeps it for another %d s, conntrack for %d s", ipvs, conntrack)
			}
			return nil
		})
		if second, err := session.Ask(t.Context()); err != nil || second.Backend == first.Backend {
			t.Errorf("%s: after %d silent seconds %s answers, %v; want another than %s, as for any new flow", way, short, second.Backend, err, first.Backend)
		}
	}
	s.daemon.Restart(t, fmt.Sprintf("--ipvs-udp-timeout=%ds", long))
	for _, way := range cluster.Of(cluster.Ways(cluster.ClusterIP), topology.UDP) {
		session, err := probe.Open(t.Context(), s.client.Netns, service.Target(way))
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		for range 2 { // the second packet makes it a stream to conntrack
			if _, err := session.Ask(t.Context()); err != nil {
				t.Fatal(err)
			}
			if ipvs, conntrack := s.flow(t, way.Family, session.LocalAddr()); ipvs < long/2 || conntrack < long/2 {
				t.Errorf("%s: IPVS keeps the flow for another %d s, conntrack for %d s; want nearly %d s", way, ipvs, conntrack, long)
			}
		}
	}
}

// flow is for how many seconds IPVS and conntrack will keep a client's UDP flow; 0 if they do not know it.
func (s *scene) flow(t *testing.T, family topology.Family, client netip.AddrPort) (ipvs, conntrack int) {
	t.Helper()
	for line := range strings.Lines(cluster.Run(t, s.Node.Netns, "ipvsadm", "-Lnc")) {
		fields := strings.Fields(line) // protocol, minutes:seconds, state, source, virtual, destination
		if len(fields) == 6 && fields[3] == client.String() {
			var minutes, seconds int
			if _, err := fmt.Sscanf(fields[1], "%d:%d", &minutes, &seconds); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			ipvs = max(1, 60*minutes+seconds)
		}
	}
	name := strings.ToLower(string(family))
	port := fmt.Sprint(client.Port())
	listed := cluster.Run(t, s.Node.Netns, "conntrack", "-L", "-f", name, "-p", "udp", "--orig-src", client.Addr().String(), "--sport", port)
	for line := range strings.Lines(listed) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[0] == "udp" {
			seconds, err := strconv.Atoi(fields[2])
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			conntrack = max(1, seconds)
		}
	}
	return ipvs, conntrack
}
