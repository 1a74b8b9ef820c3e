package translate

import (
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// MarkOf returns the packet mark for what clients inside the cluster send to a port of the Service: the same for as long
// as the Service has the port, another for every other port. Targets are the virtual servers that it stands beside. 0
// says that no mark is left.
type MarkOf func(port service.Port, targets []dataplane.VirtualServerKey) uint32

// exposed are the virtual servers of one port and family that clients outside the cluster use.
type exposed struct {
	bound []dataplane.VirtualServerKey // at externalIPs and load-balancer IPs on kube-ipvs0: pods ask their own node
	nodes []dataplane.VirtualServerKey // at addresses of nodes: pods of other nodes come here, too
}

// inside serves clients inside the cluster, that is pods and the node itself, where externalTrafficPolicy Local holds for
// those outside: they get the endpoints of the whole cluster. IPVS has one virtual server for an address and port, which
// is for the outside. Packets from inside carry a mark by which IPVS finds another one: two, in fact, since the mark
// of those to be masqueraded has one more bit by then. See the package comment.
func (t *translation) inside(port service.Port, family dataplane.Family, exposed exposed, audience audience) {
	targets := slices.Concat(exposed.bound, exposed.nodes)
	if len(targets) == 0 {
		return
	}
	mark := t.markOf(port, targets)
	if mark == 0 {
		t.problem("spec.externalTrafficPolicy", "Local",
			"holds for pods and for this node, too: every mark of --internal-marks is taken; give it more")
		return
	}
	masqueraded := mark | t.options.Masquerade.Bit()
	for _, key := range exposed.bound {
		t.mark(key, mark)
	}
	for _, key := range exposed.nodes {
		t.mark(key, masqueraded)
	}
	if len(exposed.bound) > 0 {
		t.serveMarked(dataplane.MarkKeyOf(family, mark), exposed.bound, audience)
	}
	t.serveMarked(dataplane.MarkKeyOf(family, masqueraded), targets, audience)
}

func (t *translation) mark(key dataplane.VirtualServerKey, mark uint32) {
	entry := entryOf(key)
	entry.Mark = mark
	t.entry(key.Family, InternalMark, entry)
}

// serveMarked adds a firewall-mark virtual server. Session affinity is kept by hashing the client's address: persistence
// would make IPVS use the port that the client dialled instead of the endpoint's.
func (t *translation) serveMarked(key dataplane.VirtualServerKey, targets []dataplane.VirtualServerKey, audience audience) {
	server := t.virtualServer(key)
	if server.Flags&dataplane.FlagPersistent != 0 {
		server = dataplane.VirtualServer{Key: key, Scheduler: "sh", Flags: t.fallback(), MaskBits: server.MaskBits}
	}
	t.objects.Pools = append(t.objects.Pools, dataplane.Pool{
		VirtualServer: server,
		RealServers:   realServers(t.facts.Node.Name, key, audience.wanted),
		Listed:        audience.listed,
		Leaving:       audience.leaving,
		For:           targets,
	})
}
