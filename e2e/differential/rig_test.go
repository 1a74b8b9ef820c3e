package differential

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

const (
	// settlePatience is how long both may take to do what was written: far longer than they do.
	settlePatience = 8 * time.Minute
	// equalPatience is how long after that they may differ.
	equalPatience = 20 * time.Second
	// pause is the time between two looks at the kernel, for which processes are started.
	pause = 300 * time.Millisecond
	// cleanupPatience bounds the removal of a case's objects.
	cleanupPatience = time.Minute
)

// rig is the two proxies, each in a network of its own, and the API objects they see.
type rig struct {
	*world
	ours    *cluster.Cluster
	theirs  *topology.Topology
	daemon  *cluster.Daemon
	rival   *rival
	rules   []Rule
	markers int // how many there have been
}

// newRig makes the writes and then starts both proxies: kube-proxy, which starts a process for each entry of a set, needs only
// one sync for them.
func newRig(t *testing.T, settings Settings, first []Op) *rig {
	t.Helper()
	c := cluster.New(t, topology.Options{})
	r := &rig{ours: c, theirs: topology.New(t, topology.Options{}), rules: Rules()}
	r.theirs.Node.ForwardTCP(t, cluster.APIPort(t))
	var err error
	r.world, err = newWorld(c.Namespace, map[string]string{Node1: c.NodeName(c.Node), Node2: c.NodeName(c.Node2)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupPatience) // the test's own has ended
		defer cancel()
		if err := r.clear(ctx, func(string) bool { return false }); err != nil {
			t.Errorf("remove the case's objects: %v", err)
		}
	})
	if err := r.setZone(t.Context(), Zone1); err != nil {
		t.Fatal(err)
	}
	r.rival = &rival{on: r.theirs.Node, node: c.NodeName(c.Node)}
	if err := r.write(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	r.rival.start(t, settings)
	r.daemon = c.StartDaemon(t, flags(settings)...)
	return r
}

// restart gives both other settings.
func (r *rig) restart(t *testing.T, settings Settings) {
	t.Helper()
	r.rival.Stop(t)
	r.rival.start(t, settings)
	r.daemon.Restart(t, flags(settings)...)
	if err := r.write(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// flags are the daemon's. It does not audit the kernel within a case, since that would put right what changes have missed.
func flags(s Settings) []string {
	out := []string{"--ipvs-sync-period=1h"}
	if s.Scheduler != "" {
		out = append(out, "--ipvs-scheduler="+s.Scheduler)
	}
	if len(s.NodePortAddresses) > 0 {
		out = append(out, "--nodeport-addresses="+strings.Join(s.NodePortAddresses, ","))
	}
	return out
}

// write makes writes, and replaces the marker by a new one. kube-proxy stands still meanwhile, so that it need not begin
// a sync with each.
func (r *rig) write(ctx context.Context, ops []Op) error {
	r.rival.pause()
	defer r.rival.resume()
	if err := r.apply(ctx, ops); err != nil {
		return err
	}
	r.markers++
	marker := append([]Op{markerService(r.markers)}, markerSlices(r.markers)...)
	if r.markers > 1 {
		marker = append(marker, Op{Service: markerService(r.markers - 1).Service, Delete: true})
		for _, op := range markerSlices(r.markers - 1) {
			marker = append(marker, Op{Slice: op.Slice, Delete: true})
		}
	}
	return r.apply(ctx, marker)
}

// settle returns when both have dealt with everything that was written: the latest marker's real servers show that all
// events have been delivered, and kube-proxy's log tells when the sync that knew of them is at its end.
func (r *rig) settle(ctx context.Context) error {
	if err := r.settleRival(ctx); err != nil {
		return err
	}
	if r.rival.zoned() == 0 {
		if err := r.tellZone(ctx); err != nil {
			return err
		}
	}
	if err := cluster.Try(ctx, settlePatience, pause, func() error { return r.marked(ctx, r.ours.Node) }); err != nil {
		return fmt.Errorf("kube-ipvs-proxy does not settle: %w", err)
	}
	return nil
}

// tellZone has a kube-proxy learn the node's zone that missed it: it asks to be told of zones after it has begun to watch the
// Node, and what comes in between is lost until the zone changes.
func (r *rig) tellZone(ctx context.Context) error {
	for _, zone := range []string{zone2, Zone1} {
		wanted := r.rival.zoned() + len(families()) // it says so for each of them
		if err := r.setZone(ctx, zone); err != nil {
			return err
		}
		if err := cluster.Try(ctx, settlePatience, pause, func() error {
			if told := r.rival.zoned(); told < wanted {
				return fmt.Errorf("it says %d times that it knows the zone, want %d", told, wanted)
			}
			return r.rival.Alive()
		}); err != nil {
			return fmt.Errorf("kube-proxy and zone %s: %w", zone, err)
		}
	}
	if err := r.write(ctx, nil); err != nil { // a marker that it sees after the zone
		return err
	}
	return r.settleRival(ctx)
}

func (r *rig) settleRival(ctx context.Context) error {
	err := cluster.Try(ctx, settlePatience, pause, func() error {
		if err := r.rival.Alive(); err != nil {
			return err
		}
		// First, because it costs nothing: a process for each try would cost kube-proxy the processor.
		if err := r.rival.idle(); err != nil {
			return err
		}
		if err := r.marked(ctx, r.theirs.Node); err != nil {
			return err
		}
		return r.rival.idle()
	})
	if err != nil {
		return fmt.Errorf("kube-proxy does not settle: %w", err)
	}
	return nil
}

// marked says whether a node's kernel has the latest marker and not the one before.
func (r *rig) marked(ctx context.Context, host *topology.Host) error {
	printed, err := run(ctx, host.Netns, "ipvsadm", "-Sn")
	if err != nil {
		return err
	}
	state := ParseState(printed, "", nil)
	for _, family := range families() {
		if len(state.Reals(markerServer(r.markers, family))) != 1 {
			return fmt.Errorf("marker %d has no real server of %s", r.markers, family)
		}
		if _, found := state.Virtual(markerServer(r.markers-1, family)); found {
			return fmt.Errorf("marker %d is still there", r.markers-1)
		}
	}
	return nil
}

// compare waits until both have settled and are equal under the rules, or stay different. Those that differ get a second
// chance: kube-proxy tries again what failed in its next sync only.
func (r *rig) compare(ctx context.Context) (Report, error) {
	for last := false; ; last = true {
		if err := r.settle(ctx); err != nil {
			return Report{}, err
		}
		report, err := r.look(ctx)
		if err != nil || last || len(report.Differences) == 0 {
			return report, err
		}
		if err := r.write(ctx, nil); err != nil {
			return report, err
		}
	}
}

// look compares until both are equal twice in a row, so that nothing is on its way, or time is up.
func (r *rig) look(ctx context.Context) (Report, error) {
	var report Report
	var readErr error
	equal := 0
	_ = cluster.Try(ctx, equalPatience, pause, func() error {
		pair, err := r.read(ctx)
		if readErr = err; err != nil {
			return nil
		}
		report = Compare(pair, r.rules)
		if equal++; len(report.Differences) > 0 {
			equal = 0
		}
		if equal < 2 {
			return errors.New("not equal twice")
		}
		return nil
	})
	return report, readErr
}

// read takes the states of both kernels.
func (r *rig) read(ctx context.Context) (Pair, error) {
	theirs, err := dump(ctx, r.theirs.Node)
	if err != nil {
		return Pair{}, err
	}
	ours, err := dump(ctx, r.ours.Node)
	if err != nil {
		return Pair{}, err
	}
	p := Pair{Theirs: theirs, Ours: ours}
	for _, family := range topology.Families() {
		p.OtherNodes = append(p.OtherNodes, r.ours.Node2.Address(family))
		gateway := r.ours.Node.PodSubnet(family).Addr().Next()
		p.NodePorts = append(p.NodePorts, r.ours.Node.Address(family), gateway)
	}
	return p, nil
}

// dump reads the state of a node.
func dump(ctx context.Context, host *topology.Host) (State, error) {
	servers, err := run(ctx, host.Netns, "ipvsadm", "-Sn")
	if err != nil {
		return nil, err
	}
	sets, err := run(ctx, host.Netns, "ipset", "save")
	if err != nil {
		return nil, err
	}
	link, err := host.Netlink().LinkByName("kube-ipvs0")
	if err != nil {
		return nil, fmt.Errorf("kube-ipvs0 of %s: %w", host.Name, err)
	}
	list, err := host.Netlink().AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("addresses of kube-ipvs0 of %s: %w", host.Name, err)
	}
	var addresses []netip.Prefix
	for _, address := range list {
		if prefix, err := netip.ParsePrefix(address.IPNet.String()); err == nil {
			addresses = append(addresses, prefix)
		}
	}
	return ParseState(servers, sets, addresses), nil
}

// markerRange is where the ClusterIPs of markers begin, by Service numbers that no case has.
const markerRange = 40 * 200

func markerName(number int) string { return fmt.Sprintf("marker-%d", number) }

func markerServer(number int, family corev1.IPFamily) string {
	addr := netip.MustParseAddr(clusterIP(markerRange+number, family))
	return "-t " + netip.AddrPortFrom(addr, 9).String()
}

func markerService(number int) Op {
	return aService(markerRange+number, func(s *corev1.Service) {
		s.Name, s.Spec.Ports = markerName(number), []corev1.ServicePort{{Port: 9, Protocol: corev1.ProtocolTCP}}
	})
}

func markerSlices(number int) []Op {
	var ops []Op
	for _, family := range families() {
		op := aSlice(markerRange+number, 0, family, aPod(2, number%200, family))
		op.Slice.Name = fmt.Sprintf("%s-%s", markerName(number), strings.ToLower(string(family)))
		op.Slice.Labels["kubernetes.io/service-name"] = markerName(number)
		op.Slice.Ports = op.Slice.Ports[:1]
		op.Slice.Ports[0].Name = new(string)
		ops = append(ops, op)
	}
	return ops
}
