package takeover

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// cleanup runs the daemon's clean-up on the node and returns what it printed, and its exit status.
func (s *scene) cleanup(t *testing.T, flags ...string) (output string, status int) {
	t.Helper()
	binary := os.Getenv("KUBE_IPVS_PROXY_BINARY")
	if binary == "" {
		binary = "../../.cache/bin/kube-ipvs-proxy"
	}
	printed, err := s.Node.Command(t.Context(), binary, append([]string{"--cleanup"}, flags...)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		status = exit.ExitCode()
	}
	return string(printed), status
}

// exclusive are the lines of what the daemon makes and kube-proxy knows nothing of: sets, chains in table mangle, virtual
// servers with a packet mark.
func (s *scene) exclusive(t *testing.T) (lines []string) {
	t.Helper()
	for line := range strings.Lines(cluster.Run(t, s.Node.Netns, "ipset", "list", "-n")) {
		name := strings.Replace(strings.TrimSpace(line), "KUBE-6-", "KUBE-", 1)
		if slices.Contains([]string{"KUBE-SERVED-IPS", "KUBE-NODE-PORT-IPS", "KUBE-NO-ENDPOINTS", "KUBE-NO-LOCAL", "KUBE-INTERNAL-MARK"}, name) {
			lines = append(lines, "set "+strings.TrimSpace(line))
		}
	}
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		for line := range strings.Lines(cluster.Run(t, s.Node.Netns, program, "-t", "mangle")) {
			if strings.Contains(line, "KUBE-") {
				lines = append(lines, program+" mangle "+strings.TrimSpace(line))
			}
		}
	}
	for line := range strings.Lines(cluster.Run(t, s.Node.Netns, "ipvsadm", "-Sn")) {
		if strings.Contains(line, " -f ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// wholeOf is all that there is of a kind that proxies share with others, without what comes and goes by itself.
func (s *scene) wholeOf(t *testing.T) map[string][]string {
	t.Helper()
	whole := map[string][]string{}
	for name, command := range map[string][]string{
		"IPv4 rules": {"iptables-save"}, "IPv6 rules": {"ip6tables-save"}, "sets": {"ipset", "save"}, "servers": {"ipvsadm", "-Sn"},
		"addresses": {"ip", "-o", "address", "show"}, "links": {"ip", "-br", "link"},
	} {
		for line := range strings.Lines(cluster.Run(t, s.Node.Netns, command...)) {
			line = strings.TrimSpace(line)
			// A built-in chain appears with the first rule in its table, and stays.
			if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "*") || line == "COMMIT" ||
				strings.HasPrefix(line, ":") && !strings.Contains(line, " - [") {
				continue
			}
			line, _, _ = strings.Cut(line, " [")
			whole[name] = append(whole[name], line)
		}
		slices.Sort(whole[name])
	}
	return whole
}

// ofOthers are things like the daemon's own that somebody else has made.
func ofOthers() []string {
	return []string{
		"ipset create KUBE-OTHERS hash:ip", "ipset add KUBE-OTHERS 192.0.2.1", "ipset create KUBE-6-OTHERS hash:ip,port family inet6",
		"iptables -t nat -N KUBE-OTHERS", "iptables -t nat -A PREROUTING -m set --match-set KUBE-OTHERS dst -j KUBE-OTHERS",
		"iptables -t mangle -N KUBE-IPTABLES-HINT", "ip6tables -t mangle -N KUBE-KUBELET-CANARY",
		"iptables -t filter -N KUBE-FIREWALL", "iptables -t filter -A INPUT -j KUBE-FIREWALL", "ip6tables -t filter -A INPUT -s 2001:db8::1 -j DROP",
		"ipvsadm -A -t 192.0.2.10:80 -s rr", "ipvsadm -a -t 192.0.2.10:80 -r 192.0.2.11:80 -g",
		"ipvsadm -A -u 198.51.100.1:53 -s wlc", "ipvsadm -a -u 198.51.100.1:53 -r 192.0.2.12:53 -m", "ipvsadm -A -f 7 -s rr",
		"ip link add others type dummy", "ip address add 192.0.2.20/32 dev others",
	}
}

// The clean-up takes away all that the daemon has made, of both families, and nothing of others.
func TestB52_CleanupLeavesWhatIsOfOthers(t *testing.T) {
	s := newScene(t)
	for _, command := range ofOthers() {
		cluster.Run(t, s.Node.Netns, strings.Fields(command)...)
	}
	before := s.wholeOf(t)
	daemon := s.StartDaemon(t, append(flags(), "--ipvs-exclude-cidrs=198.51.100.0/24")...)
	s.serves(t)
	s.local(t)
	s.Settle(t)
	if s.IPVS(t, s.service.Address(cluster.ClusterIP, topology.IPv6)) == "" || len(s.exclusive(t)) == 0 {
		t.Fatal("there is nothing to clean up")
	}
	daemon.Stop(t)

	output, status := s.cleanup(t, "--ipvs-exclude-cidrs=198.51.100.0/24")
	if status != 0 {
		t.Errorf("exit status %d: %s", status, output)
	}
	if diff := cmp.Diff(before, s.wholeOf(t)); diff != "" {
		t.Errorf("-before the daemon +after the clean-up:\n%s", diff)
	}
	if again, status := s.cleanup(t, "--ipvs-exclude-cidrs=198.51.100.0/24"); status != 0 {
		t.Errorf("once more, exit status %d: %s", status, again)
	}
	if diff := cmp.Diff(before, s.wholeOf(t)); diff != "" {
		t.Errorf("-before the daemon +after a second clean-up:\n%s", diff)
	}
}

// local adds a Service whose load-balancer IP needs a packet mark for clients inside the cluster, and waits for the virtual
// server that this leads to.
func (s *scene) local(t *testing.T) *cluster.Service {
	t.Helper()
	service := s.AddService(t, "local", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.Ports = cluster.Ports(cluster.ServicePort, topology.TCP)
	})
	service.Expose(t)
	service.SetEndpoints(t, s.Endpoint(s.web), s.Endpoint(s.far))
	cluster.Await(t, "virtual servers with a packet mark", func() error {
		table := cluster.Run(t, s.Node.Netns, "ipvsadm", "-Sn")
		if !strings.Contains(table, " -f ") {
			return fmt.Errorf("none in\n%s", table)
		}
		return nil
	})
	return service
}
