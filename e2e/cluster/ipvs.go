package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// IPVS returns the lines of ipvsadm -Sn on the first node whose virtual servers have one of the addresses, sorted; all
// lines if no address is given.
func (c *Cluster) IPVS(t testing.TB, addresses ...netip.Addr) string {
	t.Helper()
	return TableOf(Run(t, c.Node.Netns, "ipvsadm", "-Sn"), addresses...)
}

// TableOf picks the lines of ipvsadm's output that are about virtual servers at the addresses, and sorts them.
func TableOf(output string, addresses ...netip.Addr) string {
	var lines []string
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		at, err := netip.ParseAddrPort(fields[2]) // a firewall mark is none
		if len(addresses) == 0 || err == nil && slices.Contains(addresses, at.Addr()) {
			lines = append(lines, strings.Join(fields, " ")+"\n")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// AwaitIPVS waits until the lines about the addresses are the wanted ones. Order and spaces do not matter.
func (c *Cluster) AwaitIPVS(t testing.TB, want string, addresses ...netip.Addr) {
	t.Helper()
	want = TableOf(want)
	Await(t, "ipvsadm -Sn", func() error {
		if diff := cmp.Diff(want, c.IPVS(t, addresses...)); diff != "" {
			return fmt.Errorf("differs from what is wanted (-want +got):\n%s", diff)
		}
		return nil
	})
}

// AwaitAnswer asks until a backend of the name answers and returns the answer.
func AwaitAnswer(t testing.TB, from *topology.Netns, target probe.Target, name string) probe.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	answer, err := probe.Await(ctx, from, target, probe.Answered(name))
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// AwaitError asks until the question fails in the given way.
func AwaitError(t testing.TB, from *topology.Netns, target probe.Target, way error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	if _, err := probe.Await(ctx, from, target, failed(way)); err != nil {
		t.Fatal(err)
	}
}

// Settle returns when the daemon has dealt with everything that was written before: a Service that is added now has come,
// and has gone after that. A round writes in any order, so that only what a later one does tells that it has ended.
func (c *Cluster) Settle(t testing.TB) {
	t.Helper()
	marker := c.AddService(t, "marker", func(s *corev1.Service) { s.Spec.Ports = Ports(9, topology.TCP) })
	marker.SetEndpoints(t, Endpoint{
		addresses:  map[topology.Family]string{topology.IPv4: "192.0.2.9", topology.IPv6: "2001:db8::9"},
		conditions: conditions(true, true, false),
	})
	four, six := marker.Address(ClusterIP, topology.IPv4), marker.Address(ClusterIP, topology.IPv6)
	Await(t, "the marker's real servers", func() error {
		if table := c.IPVS(t, four, six); strings.Count(table, "-a ") != 2 {
			return fmt.Errorf("the table has %q", table)
		}
		return nil
	})
	marker.Delete(t)
	Await(t, "the end of the marker", func() error {
		if table := c.IPVS(t, four, six); table != "" {
			return fmt.Errorf("the table has %q", table)
		}
		return nil
	})
}

// failed accepts an error that wraps way.
func failed(way error) func(probe.Answer, error) bool {
	return func(_ probe.Answer, err error) bool { return errors.Is(err, way) }
}
