package admin

import (
	"cmp"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// Chosen reports whether a Service is one of those named, or none is.
func Chosen(names []service.Name, name service.Name) bool {
	return len(names) == 0 || slices.Contains(names, name)
}

// ServersOf returns what of a view is about the virtual servers of the named Services, or of all, with the places of real
// servers. The Services are these, as they were delivered.
func ServersOf(view reconcile.View, services []reconcile.Delivered, settings Settings, names []service.Name) View {
	out := View{Settings: settings, State: stateOf(view), VirtualServers: []VirtualServer{}}
	places := make(map[netip.Addr]Place)
	for _, one := range services {
		for _, slice := range one.Slices() {
			for _, e := range slice.Endpoints {
				places[e.Addr] = Place{e.Node, e.Zone}
			}
		}
	}
	known := make(map[dataplane.VirtualServerKey]struct{})
	for _, i := range order(view.Objects.Pools, func(a, b dataplane.Pool) int { return a.Key.Compare(b.Key) }) {
		pool, owner := view.Objects.Pools[i], view.Owners.Pools[i]
		if !Chosen(names, owner.Service) {
			continue
		}
		known[pool.Key] = struct{}{}
		server := serverOf(pool, owner)
		for j, real := range server.RealServers {
			server.RealServers[j].Place = places[real.Address.Addr()]
		}
		out.VirtualServers = append(out.VirtualServers, server)
	}
	for _, member := range view.Draining {
		if _, ours := known[member.VirtualServer]; ours {
			out.Draining = append(out.Draining, DrainingServer{keyOf(member.VirtualServer), member.Addr, places[member.Addr.Addr()]})
		}
	}
	slices.SortStableFunc(out.VirtualServers, func(a, b VirtualServer) int {
		return cmp.Or(cmp.Compare(a.Owner.Namespace, b.Owner.Namespace), cmp.Compare(a.Owner.Name, b.Owner.Name))
	})
	return out
}

// stateOf says how far a reconciler is.
func stateOf(view reconcile.View) State {
	return State{At: view.At, Complete: view.Complete, LastRound: view.LastRound, LastAudit: view.LastAudit, Waiting: view.Waiting}
}
