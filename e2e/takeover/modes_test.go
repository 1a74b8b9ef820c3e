package takeover

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
)

// kubelets are chains as the kubelet and somebody else have them, in each family, which no take-over touches.
func kubelets() []string {
	return []string{
		"-t mangle -N KUBE-IPTABLES-HINT", "-t mangle -N KUBE-KUBELET-CANARY", "-t filter -N OTHERS",
		"-t filter -A OTHERS -s 192.0.2.1 -j DROP", "-t filter -A FORWARD -j OTHERS",
	}
}

// From kube-proxy's other modes: new connections are answered all the time, established ones go on by conntrack alone, and
// what these modes have made is gone in the end, and nothing else.
func TestB51_FromIptablesMode(t *testing.T) { fromOtherMode(t, "iptables") }

func TestB51_FromNFTablesMode(t *testing.T) { fromOtherMode(t, "nftables") }

func fromOtherMode(t *testing.T, mode string) {
	s := newScene(t)
	for _, command := range kubelets() {
		cluster.Run(t, s.Node.Netns, strings.Fields("iptables "+command)...)
	}
	theirs := startKubeProxy(t, s.Cluster, mode)
	s.serves(t)
	l := s.start(t)
	before := s.tracked(t, l)
	if left := s.leftOvers(t); len(left) == 0 {
		t.Fatalf("mode %s has made nothing that is recognised here", mode)
	}

	theirs.Stop(t)
	s.StartDaemon(t, flags()...)
	s.rulesAre(t, true)
	cluster.AwaitFor(t, syncPatience, "kube-proxy's rules", func() error {
		if left := s.leftOvers(t); len(left) > 0 {
			return fmt.Errorf("left:\n%s", strings.Join(left, "\n"))
		}
		return nil
	})
	l.more(t, "after the take-over")
	if diff := changed(before, s.tracked(t, l)); diff != "" {
		t.Errorf("conntrack's ids of lasting flows: %s", diff)
	}
	s.kubeletsAreThere(t)
	s.viaIPVS(t)
	l.stop(t)
}

// leftOvers are the chains, jumps and tables that only kube-proxy's modes iptables and nftables make.
func (s *scene) leftOvers(t *testing.T) (left []string) {
	t.Helper()
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		table := ""
		for line := range strings.Lines(cluster.Run(t, s.Node.Netns, program)) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "*") {
				table = line[1:]
			}
			for _, name := range []string{"KUBE-SVC-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SVL-", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES",
				"KUBE-PROXY-CANARY", "load balancer firewall"} {
				if strings.Contains(line, name) {
					left = append(left, program+" "+table+" "+line)
				}
			}
			if table == "filter" && strings.Contains(line, "KUBE-SERVICES") {
				left = append(left, program+" "+table+" "+line)
			}
		}
	}
	for line := range strings.Lines(cluster.Run(t, s.Node.Netns, "nft", "list", "tables")) {
		if strings.HasSuffix(strings.TrimSpace(line), " kube-proxy") {
			left = append(left, strings.TrimSpace(line))
		}
	}
	return left
}

// kubeletsAreThere checks that what the kubelet and others have made is as it was.
func (s *scene) kubeletsAreThere(t *testing.T) {
	t.Helper()
	lines := strings.Split(cluster.Run(t, s.Node.Netns, "iptables-save"), "\n")
	for _, want := range []string{":KUBE-IPTABLES-HINT", ":KUBE-KUBELET-CANARY", ":OTHERS", "-A OTHERS -s 192.0.2.1/32 -j DROP", "-A FORWARD -j OTHERS"} {
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("%s is gone", want)
		}
	}
}

// viaIPVS checks that every way leads through IPVS now.
func (s *scene) viaIPVS(t *testing.T) {
	t.Helper()
	before := s.counted(t)
	cluster.AwaitFor(t, syncPatience, "connections through IPVS", func() error {
		for server, count := range s.counted(t) {
			if !strings.Contains(server, "->") && count == before[server] {
				return fmt.Errorf("%s has had none since", server)
			}
		}
		return nil
	})
}

// changed says which values are others than before.
func changed(before, after map[string]string) string {
	var lines []string
	for name, id := range before {
		if after[name] != id {
			lines = append(lines, fmt.Sprintf("%s: %s, then %q", name, id, after[name]))
		}
	}
	return strings.Join(lines, "; ")
}
