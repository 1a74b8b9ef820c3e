package behaviour

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// damage is what somebody does to the kernel by hand, as command lines.
type damage struct {
	name     string
	commands []string
}

// damages are to what belongs to one Service, and to what belongs to all. In the command lines, VIP4 and VIP6 are its
// ClusterIPs.
func damages() []damage {
	return []damage{
		{"a virtual server", []string{"ipvsadm -D -t VIP4:80", "ipvsadm -D --sctp-service [VIP6]:80"}},
		{"a real server", []string{"ipvsadm -d -u VIP4:80 -r 10.244.1.3:8080", "ipvsadm -d -t [VIP6]:80 -r [fd00:10:244:2::2]:8080"}},
		{"weight and scheduler", []string{"ipvsadm -e -t VIP4:80 -r 10.244.1.3:8080 -m -w 7", "ipvsadm -E -u [VIP6]:80 -s lc"}},
		{"a stray real server", []string{"ipvsadm -a -u VIP4:80 -r 192.0.2.77:1 -m"}},
		{"every virtual server", []string{"ipvsadm -C"}},
		{"an address", []string{"ip addr del VIP4/32 dev kube-ipvs0", "ip addr del VIP6/128 dev kube-ipvs0"}},
		{"a stray address", []string{"ip addr add 192.0.2.78/32 dev kube-ipvs0"}},
		{"the device", []string{"ip link del kube-ipvs0"}},
		{"a rule", []string{"iptables -t nat -D KUBE-SERVICES 2", "ip6tables -D KUBE-IPVS-FILTER 1"}},
		{"a stray rule", []string{"iptables -I KUBE-FORWARD -j DROP"}},
		{"the jumps", []string{"iptables -t nat -F PREROUTING", "ip6tables -F INPUT", "iptables -F FORWARD"}},
		// At once: between the rules and their chains the daemon might repair.
		{"every rule of two tables", []string{"iptables-restore testdata/nothing-in-nat.rules", "ip6tables-restore testdata/nothing-in-filter.rules"}},
		{"an entry", []string{"ipset del KUBE-CLUSTER-IP VIP4,tcp:80", "ipset del KUBE-6-CLUSTER-IP VIP6,udp:80"}},
		{"the entries of a set", []string{"ipset flush KUBE-IPVS-IPS", "ipset flush KUBE-6-LOOP-BACK"}},
	}
}

// Whatever is changed by hand is as before after an audit at the latest, and what is not wanted is gone.
func TestB36_RepairsWhatWasChangedByHand(t *testing.T) {
	t.Parallel()
	s := newScene(t, "--ipvs-sync-period=2s")
	s.daemon.MayFail = true // on the device that was deleted
	service := s.AddService(t, "repaired")
	service.SetEndpoints(t, s.both()...)
	ways := cluster.Ways(cluster.ClusterIP)
	s.awaitTable(t, service, ways, "rr", s.web, s.far)
	for _, way := range ways {
		cluster.Await(t, way.String(), func() error { return answers(t, s.client.Netns, service.Target(way)) })
	}
	intact := s.installed(t, service)
	names := strings.NewReplacer("VIP4", service.Address(cluster.ClusterIP, topology.IPv4).String(),
		"VIP6", service.Address(cluster.ClusterIP, topology.IPv6).String())
	for _, damage := range damages() {
		t.Run(strings.ReplaceAll(damage.name, " ", "-"), func(t *testing.T) {
			for _, command := range damage.commands {
				cluster.Run(t, s.Node.Netns, strings.Fields(names.Replace(command))...)
			}
			cluster.Await(t, "the repair", func() error { return differs(intact, s.installed(t, service)) })
			for _, way := range ways {
				if err := answers(t, s.client.Netns, service.Target(way)); err != nil {
					t.Errorf("after the repair, %s: %v", way, err)
				}
			}
		})
	}
}

// installed is what the kernel has that the Service needs, and the rules of all, which do not depend on other Services.
func (s *scene) installed(t *testing.T, service *cluster.Service) string {
	t.Helper()
	ips := append(ipsOf(service), netip.MustParseAddr("192.0.2.78"))
	// Without the device, ip has no addresses to show.
	bound, _ := s.Node.Command(t.Context(), "ip", "-o", "addr", "show", "dev", "kube-ipvs0").Output()
	addresses := linesWith(regexp.MustCompile(`(?m)^\d+: `).ReplaceAllString(string(bound), ""), mentions(ips))
	// The endpoint's entries for hairpin traffic are the only ones of this node in any test.
	entries := linesWith(cluster.Run(t, s.Node.Netns, "ipset", "save"), regexp.MustCompile(mentions(ips).String()+"|LOOP-BACK"))
	slices.Sort(addresses)
	slices.Sort(entries)
	lines := slices.Concat([]string{s.IPVS(t, ips...)}, addresses, entries)
	for _, save := range []string{"iptables-save", "ip6tables-save"} {
		rules := regexp.MustCompile(`\[\d+:\d+\]`).ReplaceAllString(cluster.Run(t, s.Node.Netns, save), "")
		lines = append(lines, linesWith(rules, regexp.MustCompile("KUBE-"))...)
	}
	return strings.Join(lines, "\n")
}

// mentions matches any of the addresses where they stand alone.
func mentions(addresses []netip.Addr) *regexp.Regexp {
	var alternatives []string
	for _, addr := range addresses {
		alternatives = append(alternatives, regexp.QuoteMeta(addr.String()))
	}
	return regexp.MustCompile(fmt.Sprintf(`(^|[ ,])(%s)([ ,/]|$)`, strings.Join(alternatives, "|")))
}

// linesWith returns the matching lines, in their order.
func linesWith(text string, pattern *regexp.Regexp) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); pattern.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return lines
}
