package reconcile

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// HealthCheck is what the healthCheckNodePort of one Service has to answer on this node.
type HealthCheck struct {
	Source  string // the Service's origin: two of them may have a Service of the same name
	Service service.Name
	UID     string    // of the API object; empty when no API server has it
	Created time.Time // decides between Services that want the same port
	// Sockets are where to listen; each comes with the number of ready endpoints of its family on this node. There are
	// none when the Service has no healthCheckNodePort, or none any more. The map is not to be changed.
	Sockets map[netip.AddrPort]int
}

// Same reports whether both are of the same object, rather than of one that was deleted and made anew, under one name.
func (h HealthCheck) Same(o HealthCheck) bool { return h.UID == o.UID && h.Created.Equal(o.Created) }

func (h HealthCheck) equal(o HealthCheck) bool {
	return h.Same(o) && maps.Equal(h.Sockets, o.Sockets)
}

// healthChecks knows what Services want, and what was last reported, so that a round reports no more than what it changed.
type healthChecks struct {
	wanted   map[string]HealthCheck // by source and name; Services without a port are left out
	reported map[string]HealthCheck // those of them that are answered
	open     map[string]struct{}    // owners whose wishes, or chances, changed since settleChecks
	changed  []HealthCheck
}

func newHealthChecks() healthChecks {
	return healthChecks{wanted: make(map[string]HealthCheck), reported: make(map[string]HealthCheck), open: make(map[string]struct{})}
}

// want takes note of what a Service wants now.
func (h *healthChecks) want(owner string, check HealthCheck) {
	delete(h.wanted, owner)
	if len(check.Sockets) > 0 {
		h.wanted[owner] = check
	}
	h.open[owner] = struct{}{}
}

// set takes note of what a Service gets now.
func (h *healthChecks) set(owner string, check HealthCheck) {
	before, known := h.reported[owner]
	if known && before.equal(check) || !known && len(check.Sockets) == 0 {
		return
	}
	if len(check.Sockets) == 0 {
		delete(h.reported, owner)
	} else {
		h.reported[owner] = check
	}
	h.changed = append(h.changed, check)
}

// take returns what has changed since the last call.
func (h *healthChecks) take() []HealthCheck {
	changed := h.changed
	h.changed = nil
	return changed
}

// reserve adds to a Service's objects that IPVS is to leave its healthCheckNodePort alone. (IPVS takes packets to a virtual
// server before the node's own processes see them.)
func (r *Reconciler) reserve(objects dataplane.Objects, check HealthCheck) dataplane.Objects {
	keys := make(map[dataplane.VirtualServerKey]struct{})
	for socket := range check.Sockets {
		for _, addr := range r.loop.facts.NodePortAddrs {
			if dataplane.FamilyOf(addr) == dataplane.FamilyOf(socket.Addr()) {
				keys[dataplane.KeyOf(dataplane.TCP, addr, socket.Port())] = struct{}{}
			}
		}
	}
	for _, pool := range objects.Pools {
		delete(keys, pool.Key) // its own external IP, which the node has
	}
	for _, key := range slices.SortedFunc(maps.Keys(keys), dataplane.VirtualServerKey.Compare) {
		objects.Pools = append(objects.Pools, dataplane.Pool{VirtualServer: dataplane.VirtualServer{Key: key}, Reserved: true})
	}
	return objects
}

// settleChecks gives Services the health checks that they want and no older Service's NodePort is in the way of.
func (r *Reconciler) settleChecks() {
	for owner := range r.reports.checks.open {
		check, wanted := r.reports.checks.wanted[owner]
		if !wanted {
			check.Source, check.Service = ownedBy(owner)
		}
		for _, loss := range r.loop.ledger.Lost(owner) {
			if loss.Reserved {
				check.Sockets = maps.Clone(check.Sockets)
				maps.DeleteFunc(check.Sockets, func(at netip.AddrPort, _ int) bool { return dataplane.FamilyOf(at.Addr()) == loss.Key.Family })
			}
		}
		r.reports.checks.set(owner, check)
	}
	r.reports.checks.open = make(map[string]struct{}) // not cleared: it would stay as large as it was when every Service was in it
}

// healthCheck says what a delivered Service wants: a socket in each of its families on each address that
// nodePortAddresses selects.
func (r *Reconciler) healthCheck(dirty dirtyView) HealthCheck {
	check := HealthCheck{Source: dirty.source, Service: dirty.name}
	port, facts := dirty.view.Policy.HealthCheckNodePort, r.loop.facts
	if !dirty.exists || port == 0 {
		return check
	}
	check.UID, check.Created, check.Sockets = dirty.view.UID, dirty.view.Created, make(map[netip.AddrPort]int)
	counts := make(map[dataplane.Family]int)
	for _, family := range facts.Families {
		if slices.Contains(dirty.view.Families, family) {
			counts[family] = service.LocalReady(dirty.view, family, facts.Node)
		}
	}
	for _, addr := range r.options.NodePorts.Listen(facts) {
		if count, served := counts[dataplane.FamilyOf(addr)]; served {
			check.Sockets[netip.AddrPortFrom(addr, port)] = count
		}
	}
	return check
}
