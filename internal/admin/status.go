package admin

import (
	"net/netip"
	"slices"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// Status is what is wanted of IPVS together with what IPVS has.
type Status struct {
	Node           string         `json:"node"`
	Daemon         bool           `json:"daemon"` // a running daemon was asked; else it was worked out what one would want
	At             time.Time      `json:"at"`     // when IPVS was asked
	State          State          `json:"state"`  // of the daemon
	Summary        Summary        `json:"summary"`
	VirtualServers []ServerStatus `json:"virtualServers"` // sorted by Service, then as in the view
}

// Summary counts what there is. What is wanted and what is there are the same but for what is missing and stray.
type Summary struct {
	Services       int    `json:"services"`
	VirtualServers int    `json:"virtualServers"` // with endpoints: the others are not made
	RealServers    int    `json:"realServers"`    // wanted
	OtherWeight    int    `json:"otherWeight"`    // of the wanted real servers, those that have another weight
	Draining       int    `json:"draining"`       // real servers with weight 0 that are not wanted any more
	Missing        int    `json:"missing"`        // virtual and real servers that are wanted and not there
	Stray          int    `json:"stray"`          // virtual and real servers that are there, neither wanted nor draining
	Active         uint64 `json:"active"`         // established connections
	Inactive       uint64 `json:"inactive"`       // all other connections and flows
}

// ServerStatus is a virtual server.
type ServerStatus struct {
	ServerKey
	Owner       Owner        `json:"owner"`
	Scheduler   string       `json:"scheduler"`
	Persistence uint32       `json:"persistence,omitempty"` // seconds
	For         []ServerKey  `json:"for,omitempty"`         // of one with a mark: what its packets were sent to
	Present     bool         `json:"present"`               // the kernel has it
	Connections uint64       `json:"connections"`           // so far, as far as the kernel has counted
	RealServers []RealStatus `json:"realServers"`           // the wanted ones, then the others; empty for lack of endpoints
}

// RealStatus is a real server of a virtual server.
type RealStatus struct {
	Address  netip.AddrPort `json:"address"`
	Weight   uint32         `json:"weight"` // that it has
	Active   uint32         `json:"active"`
	Inactive uint32         `json:"inactive"`
	State    RealState      `json:"state"`
	Place
}

// RealState is how a real server stands to what is wanted.
type RealState string

// The states.
const (
	RealServing  RealState = "serving"
	RealWeighted RealState = "other weight" // than is wanted
	RealDraining RealState = "draining"     // not wanted any more: it gets no new connections, and goes when the old ones have ended
	RealMissing  RealState = "missing"      // wanted, and not there
	RealStray    RealState = "stray"        // neither wanted nor draining
)

// StatusOf joins what is wanted with what IPVS has of it, as it was at a time. Of a virtual server that is not there, there
// is no usage.
func StatusOf(view View, desired Desired, usage map[dataplane.VirtualServerKey]dataplane.Usage, at time.Time) Status {
	out := Status{Node: view.Settings.Node, At: at, State: view.State, VirtualServers: make([]ServerStatus, 0, len(view.VirtualServers))}
	places := make(map[drain]Place, len(view.Draining))
	for _, one := range view.Draining {
		places[drain{one.VirtualServer, one.Address}] = one.Place
	}
	services := make(map[Owner]struct{})
	for i, server := range view.VirtualServers {
		used, present := usage[desired.Pools[i].Key]
		one := ServerStatus{ServerKey: server.ServerKey, Owner: server.Owner, Scheduler: server.Scheduler, Persistence: server.Timeout,
			For: server.For, Present: present, Connections: used.Connections, RealServers: realStatuses(server, used.Servers, places)}
		out.VirtualServers = append(out.VirtualServers, one)
		out.Summary.add(one, len(server.RealServers) > 0)
		services[Owner{Source: server.Owner.Source, Namespace: server.Owner.Namespace, Name: server.Owner.Name}] = struct{}{}
	}
	out.Summary.Services = len(services)
	return out
}

// drain identifies a draining real server.
type drain struct {
	server  ServerKey
	address netip.AddrPort
}

// realStatuses lists the wanted real servers, then the others that are there.
func realStatuses(server VirtualServer, there []dataplane.Load, places map[drain]Place) []RealStatus {
	loads := make(map[netip.AddrPort]dataplane.Load, len(there))
	for _, load := range there {
		loads[load.Addr] = load
	}
	out := make([]RealStatus, 0, max(len(there), len(server.RealServers)))
	for _, real := range server.RealServers {
		load, present := loads[real.Address]
		state := RealServing
		switch {
		case !present:
			state = RealMissing
		case load.Weight != real.Weight:
			state = RealWeighted
		}
		out = append(out, RealStatus{real.Address, load.Weight, load.Active, load.Inactive, state, real.Place})
	}
	for _, load := range there {
		if slices.ContainsFunc(server.RealServers, func(r RealServer) bool { return r.Address == load.Addr }) {
			continue
		}
		state := RealStray
		if load.Weight == 0 {
			state = RealDraining
		}
		out = append(out, RealStatus{load.Addr, load.Weight, load.Active, load.Inactive, state, places[drain{server.ServerKey, load.Addr}]})
	}
	return out
}

// add counts a virtual server. One that no real server is wanted for is there only as long as others drain.
func (s *Summary) add(server ServerStatus, wanted bool) {
	switch {
	case server.Present && len(server.RealServers) > 0:
		s.VirtualServers++
	case wanted:
		s.Missing++
	case server.Present:
		s.Stray++
	}
	for _, real := range server.RealServers {
		s.Active, s.Inactive = s.Active+uint64(real.Active), s.Inactive+uint64(real.Inactive)
		switch real.State {
		case RealServing:
			s.RealServers++
		case RealWeighted:
			s.RealServers, s.OtherWeight = s.RealServers+1, s.OtherWeight+1
		case RealMissing:
			s.RealServers, s.Missing = s.RealServers+1, s.Missing+1
		case RealDraining:
			s.Draining++
		case RealStray:
			s.Stray++
		}
	}
}
