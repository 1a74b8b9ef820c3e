package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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
// and has gone after that. A round writes in any order, so that only what a later one does tells that it has ended. The marker
// is known by its real servers: the API server may give its addresses to another test at once.
func (c *Cluster) Settle(t testing.TB) {
	t.Helper()
	marker := c.AddService(t, "marker", func(s *corev1.Service) { s.Spec.Ports = Ports(9, topology.TCP) })
	own := targetOf(marker.UID)
	marker.SetPart(t, Part{TargetPort: int32(own), Endpoints: []Endpoint{{
		addresses:  map[topology.Family]string{topology.IPv4: "192.0.2.9", topology.IPv6: "2001:db8::9"},
		conditions: conditions(true, true, false),
	}}})
	four, six := marker.Address(ClusterIP, topology.IPv4), marker.Address(ClusterIP, topology.IPv6)
	awaitReals := func(what string, want int) {
		t.Helper()
		Await(t, what, func() error {
			table := c.IPVS(t, four, six)
			if strings.Count(table, fmt.Sprintf(" -r 192.0.2.9:%d ", own))+strings.Count(table, fmt.Sprintf(" -r [2001:db8::9]:%d ", own)) != want {
				return fmt.Errorf("want %d real servers with port %d, the table has %q", want, own, table)
			}
			return nil
		})
	}
	awaitReals("the marker's real servers", 2)
	marker.Delete(t)
	awaitReals("the end of the marker", 0)
}

// targetOf is a port that hardly another object has.
func targetOf(uid types.UID) uint16 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(uid)) // which cannot fail
	const unprivileged = 1024
	return uint16(unprivileged + hash.Sum32()%(1<<16-unprivileged))
}

// GivenAway reports whether another Service has a ClusterIP that one of the test's has given up: the API server may give it
// to any other test at once.
func (c *Cluster) GivenAway(t testing.TB, addr netip.Addr, by *Service) bool {
	t.Helper()
	all, err := c.env.client.CoreV1().Services(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatalf("list all Services: %v", err)
	}
	return slices.ContainsFunc(all.Items, func(other corev1.Service) bool {
		return other.UID != by.UID && slices.Contains(other.Spec.ClusterIPs, addr.String())
	})
}

// failed accepts an error that wraps way.
func failed(way error) func(probe.Answer, error) bool {
	return func(_ probe.Answer, err error) bool { return errors.Is(err, way) }
}
