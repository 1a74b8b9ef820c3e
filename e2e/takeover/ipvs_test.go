package takeover

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// flags give the daemon kube-proxy's settings.
func flags() []string { return []string{"--cluster-cidr=" + podCIDRs, "--ipvs-scheduler=rr"} }

// From kube-proxy's mode ipvs to the daemon and back, and nobody notices. What the daemon leaves beside kube-proxy's own is
// removed while kube-proxy serves.
func TestB51_FromIPVSModeAndBack(t *testing.T) {
	s := newScene(t)
	theirs := startKubeProxy(t, s.Cluster, "ipvs")
	s.serves(t)
	drain := s.drain(t)
	l := s.start(t)
	before := s.remember(t, l)

	theirs.Stop(t)
	daemon := s.StartDaemon(t, flags()...)
	s.rulesAre(t, true)
	l.more(t, "after the take-over")
	s.kept(t, "after the take-over", l, before)
	drain.goesOn(t, "after the take-over")
	marked := s.marked(t)
	before = s.remember(t, l)

	daemon.Stop(t)
	l.more(t, "with nobody in charge")
	startKubeProxy(t, s.Cluster, "ipvs")
	s.rulesAre(t, false)
	l.more(t, "after the way back")
	s.kept(t, "after the way back", l, before)
	drain.goesOn(t, "after the way back")
	says(t, "after the way back, by a packet mark", marked)

	s.cleansUpBeside(t, marked)
	l.more(t, "after the clean-up beside kube-proxy")
	s.kept(t, "after the clean-up beside kube-proxy", l, before)
	drain.goesOn(t, "after the clean-up beside kube-proxy")
	l.stop(t)
}

// draining is a real server with weight 0, and a session that it still serves.
type draining struct {
	*scene
	table   string
	at      []netip.Addr
	session *probe.Session
}

// drain has kube-proxy drain an endpoint that has a connection.
func (s *scene) drain(t *testing.T) draining {
	t.Helper()
	service := s.AddService(t, "draining", func(s *corev1.Service) { s.Spec.Ports = cluster.Ports(cluster.ServicePort, topology.TCP) })
	service.SetEndpoints(t, s.Endpoint(s.web))
	target := service.Target(cluster.Way{Kind: cluster.ClusterIP, Protocol: topology.TCP, Family: topology.IPv4})
	cluster.AwaitAnswer(t, s.client.Netns, target, "web")
	session, err := probe.Open(t.Context(), s.client.Netns, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	service.SetEndpoints(t, s.Endpoint(s.web).Terminating(), s.Endpoint(s.far))
	d := draining{scene: s, at: []netip.Addr{service.Address(cluster.ClusterIP, topology.IPv4)}, session: session}
	server := target.AddrPort
	d.table = fmt.Sprintf("-A -t %s -s rr\n-a -t %s -r %s:%d -m -w 0\n-a -t %s -r %s:%d -m -w 1\n",
		server, server, s.web.IPv4, cluster.TargetPort, server, s.far.IPv4, cluster.TargetPort)
	cluster.AwaitFor(t, syncPatience, "kube-proxy drains", func() error {
		if diff := cmp.Diff(cluster.TableOf(d.table), s.IPVS(t, d.at...)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	return d
}

// goesOn checks that the real server still drains, and still serves its session.
func (d draining) goesOn(t *testing.T, when string) {
	t.Helper()
	says(t, when+", on a connection with an endpoint that drains", d.session)
	if diff := cmp.Diff(cluster.TableOf(d.table), d.IPVS(t, d.at...)); diff != "" {
		t.Errorf("%s: the endpoint that drains, -before +after:\n%s", when, diff)
	}
}

// says checks that a session is served.
func says(t *testing.T, when string, session *probe.Session) {
	t.Helper()
	if _, err := session.Ask(t.Context()); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// marked returns a session through a virtual server with a packet mark.
func (s *scene) marked(t *testing.T) *probe.Session {
	t.Helper()
	service := s.local(t)
	target := service.Target(cluster.Way{Kind: cluster.LoadBalancerIP, Protocol: topology.TCP, Family: topology.IPv4})
	cluster.AwaitAnswer(t, s.client.Netns, target, "far") // which only that virtual server has
	session, err := probe.Open(t.Context(), s.client.Netns, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Abort() })
	says(t, "by a packet mark", session)
	return session
}

// cleansUpBeside removes, while kube-proxy serves, what it knows nothing of: at once all but the virtual server with a packet
// mark that still has a connection, and that when it has none any more.
func (s *scene) cleansUpBeside(t *testing.T, marked *probe.Session) {
	t.Helper()
	if output, status := s.cleanup(t); status == 0 || !strings.Contains(output, "--keep-kube-proxy") {
		t.Fatalf("with kube-proxy running, the whole clean-up is not refused: status %d, %s", status, output)
	}
	output, status := s.cleanup(t, "--keep-kube-proxy")
	if status != 1 || !strings.Contains(output, "run this again later") {
		t.Errorf("exit status %d, want 1: a connection by a packet mark goes on: %s", status, output)
	}
	for _, line := range s.exclusive(t) {
		if !strings.Contains(line, " -f ") {
			t.Errorf("left: %s; the clean-up wrote:\n%s", line, output)
		}
	}
	says(t, "after the clean-up, by a packet mark", marked)
	if err := marked.Abort(); err != nil {
		t.Error(err)
	}
	cluster.AwaitFor(t, syncPatience, "the rest of the clean-up", func() error {
		if output, status := s.cleanup(t, "--keep-kube-proxy"); status != 0 {
			return fmt.Errorf("exit status %d: %s", status, output)
		}
		return nil
	})
	if left := s.exclusive(t); len(left) > 0 {
		t.Errorf("left in the end:\n%s", strings.Join(left, "\n"))
	}
}

// rulesAre waits until table nat has the daemon's rules, which are told by a set of its own, or kube-proxy's.
func (s *scene) rulesAre(t *testing.T, ours bool) {
	t.Helper()
	for program, set := range map[string]string{"iptables-save": "KUBE-SERVED-IPS", "ip6tables-save": "KUBE-6-SERVED-IPS"} {
		cluster.AwaitFor(t, syncPatience, "the rules", func() error {
			rules := cluster.Run(t, s.Node.Netns, program, "-t", "nat")
			if strings.Contains(rules, "--match-set "+set+" ") != ours {
				return fmt.Errorf("want the daemon's rules: %t, have\n%s", ours, rules)
			}
			return nil
		})
	}
}
