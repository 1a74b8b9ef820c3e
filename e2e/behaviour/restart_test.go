package behaviour

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// pace is the time between two questions of a load: there are many, and the machine may be emulated.
const pace = time.Second

// fewest is how many answers of a load make it one.
const fewest = 5

// Killed and restarted under load, the daemon loses no request and no session, and takes nothing down on the way: the
// kernel's counters go on from where they were, and UDP flows keep their endpoint and conntrack's entry (P10).
func TestB34_RestartUnderLoad(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	service := s.AddService(t, "busy")
	service.Expose(t)
	service.SetEndpoints(t, s.both()...)
	ways := cluster.Ways(cluster.Kinds()...)
	s.awaitTable(t, service, ways, "rr", s.web, s.far)
	for _, way := range ways {
		cluster.Await(t, way.String(), func() error { return answers(t, s.client.Netns, service.Target(way)) })
	}
	fresh, lasting, flows := s.loads(t, service)
	ways = cluster.Ways(cluster.ClusterIP, cluster.NodePort)
	before, known := s.connections(t, service, ways), s.entries(t, flows)

	s.daemon.Kill(t)
	s.daemon.Start(t)
	s.Settle(t)
	s.notFlushed(t, "killed", before, service, ways)
	s.daemon.Restart(t)
	s.Settle(t)
	s.notFlushed(t, "restarted", before, service, ways)
	if diff := cmp.Diff(known, s.entries(t, flows)); diff != "" {
		t.Errorf("conntrack knows the UDP flows by other ids than before the restarts, -before +after:\n%s", diff)
	}

	for name, load := range fresh {
		if tally := load.Stop(); tally.Err() != nil || tally.Answered < fewest {
			t.Errorf("%s, each on a connection of its own: %v, %v", name, tally, tally.Err())
		}
	}
	for name, load := range lasting {
		if tally := load.Stop(); tally.Err() != nil || tally.Answered < fewest || len(tally.Backends) != 1 {
			t.Errorf("%s, on one session: %v, %v; want one backend", name, tally, tally.Err())
		}
	}
}

// loads starts asking: by the ClusterIP from a pod and by the NodePort from outside, on new connections and on lasting ones.
// It returns where the UDP flows among these come from.
func (s *scene) loads(t *testing.T, service *cluster.Service) (fresh, lasting map[string]*probe.Load, flows []netip.AddrPort) {
	t.Helper()
	fresh, lasting = map[string]*probe.Load{}, map[string]*probe.Load{}
	for _, way := range cluster.Ways(cluster.ClusterIP, cluster.NodePort) {
		from := s.client.Netns
		if way.Kind == cluster.NodePort {
			from = s.Client.Netns
		}
		fresh[way.String()] = probe.StartLoad(t.Context(), from, service.Target(way), pace)
		session, err := probe.Open(t.Context(), from, service.Target(way))
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		t.Cleanup(func() { _ = session.Close() })
		lasting[way.String()] = session.StartLoad(t.Context(), pace)
		if way.Protocol == topology.UDP {
			flows = append(flows, session.LocalAddr())
		}
	}
	for _, loads := range []map[string]*probe.Load{fresh, lasting} {
		for name, load := range loads {
			cluster.Await(t, "answers to "+name, func() error {
				if tally := load.Tally(); tally.Answered == 0 {
					return fmt.Errorf("%v: %w", tally, tally.Err())
				}
				return nil
			})
		}
	}
	return fresh, lasting, flows
}

// entries are the ids of conntrack's entries of UDP flows from some addresses.
func (s *scene) entries(t *testing.T, from []netip.AddrPort) map[netip.AddrPort]string {
	t.Helper()
	ids := map[netip.AddrPort]string{}
	for _, client := range from {
		family := "ipv4"
		if client.Addr().Is6() {
			family = "ipv6"
		}
		listed := cluster.Run(t, s.Node.Netns, "conntrack", "-L", "-o", "id", "-f", family, "-p", "udp",
			"--orig-src", client.Addr().String(), "--sport", fmt.Sprint(client.Port()))
		for field := range strings.FieldsSeq(listed) {
			if id, found := strings.CutPrefix(field, "id="); found {
				ids[client] = id
			}
		}
		if ids[client] == "" {
			t.Errorf("conntrack does not know the flow from %s: %s", client, listed)
		}
	}
	return ids
}

// connections are the kernel's counts of the connections that each real server of the Service has ever got.
func (s *scene) connections(t *testing.T, service *cluster.Service, ways []cluster.Way) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, way := range ways {
		target := service.Target(way).AddrPort.String()
		output := cluster.Run(t, s.Node.Netns, "ipvsadm", "-Ln", "--stats", "--exact", flagOf(way.Protocol), target)
		for line := range strings.Lines(output) {
			fields := strings.Fields(line)
			if len(fields) < 3 || fields[0] != "->" {
				continue
			}
			if count, err := strconv.Atoi(fields[2]); err == nil {
				counts[way.String()+" "+fields[1]] = count
			}
		}
	}
	if len(counts) != 2*len(ways) {
		t.Fatalf("the kernel counts connections of %d real servers, want %d: %v", len(counts), 2*len(ways), slices.Sorted(maps.Keys(counts)))
	}
	return counts
}

// notFlushed checks that no count went back, as that of a real server that was deleted and added again would.
func (s *scene) notFlushed(t *testing.T, when string, before map[string]int, service *cluster.Service, ways []cluster.Way) {
	t.Helper()
	for server, count := range s.connections(t, service, ways) {
		if count < before[server] {
			t.Errorf("%s: %s has had %d connections, %d before", when, server, count, before[server])
		}
	}
}
