package admin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// elsewhere says what an address is at which no Service is served on that port: first what Services have to do with it.
func (e explainer) elsewhere() []string {
	var notes []string
	for _, one := range e.Services {
		notes = append(notes, e.relation(one)...)
	}
	return append(notes, e.place())
}

// relation says what a Service has to do with the address or the port.
func (e explainer) relation(one reconcile.Delivered) []string {
	q, name, facts := e.question, nameOf(one), e.View.Basis.Facts
	own := slices.Contains(facts.Local, q.To.Addr())
	var notes []string
	add := func(holds bool, format string, values ...any) {
		if holds {
			notes = append(notes, fmt.Sprintf(format, values...))
		}
	}
	_, wanted := e.wants(one.View)
	kinds := kindsOf(one.Service, q.To.Addr())
	add(len(wanted) > 0, "Service %s names it as its %s, but is not served there: its Events and the daemon's log say why.",
		name, strings.Join(wanted, " and "))
	add(len(wanted) == 0 && len(kinds) > 0, "Service %s has the address as its %s, with the ports %s.", name, strings.Join(kinds, " and "),
		portsOf(one.Service))
	for _, port := range one.Ports {
		if own && len(wanted) == 0 && port.NodePort == q.To.Port() {
			add(port.Protocol == q.Protocol, "Service %s has the NodePort %d/%s, which nodePortAddresses keeps to %s.",
				name, port.NodePort, port.Protocol, listOf(facts.NodePortAddrs))
			add(port.Protocol != q.Protocol, "Service %s has the NodePort %d of another protocol: %s.", name, port.NodePort, port.Protocol)
		}
	}
	add(own && one.Policy.HealthCheckNodePort == q.To.Port(),
		"It is the healthCheckNodePort of Service %s: HTTP there tells load balancers whether this node has endpoints.", name)
	add(hasEndpoint(one.View, q.To.Addr()), "The address is that of an endpoint of Service %s: it is reached straight, without IPVS.", name)
	return notes
}

// place says whose an address is.
func (e explainer) place() string {
	facts, addr := e.View.Basis.Facts, e.question.To.Addr()
	holds := func(prefixes []netip.Prefix) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	_, otherNode := slices.BinarySearchFunc(facts.OtherNodes, addr, netip.Addr.Compare)
	switch {
	case slices.Contains(e.View.Objects.Addresses, addr):
		return "The address is on kube-ipvs0."
	case addr.IsLoopback():
		return "It is a loopback address: IPVS serves none, NodePorts neither."
	case slices.Contains(facts.Local, addr), slices.Contains(facts.Node.Addresses, addr):
		return "It is an address of this node: connections reach what listens there, if anything does."
	case otherNode:
		return "It is an address of another node: what is there is for that node to say."
	case holds(e.Settings.ExcludeCIDRs):
		return "It is in ipvs.excludeCIDRs: what IPVS does there is somebody else's."
	case holds(e.podCIDRs()):
		return "It is in a range of pods' addresses: if a pod has it, it is reached straight, without IPVS."
	}
	return "No Service that this node knows has the address, nor has a node that it knows."
}

// portsOf lists the ports of a Service by their numbers.
func portsOf(s service.Service) string {
	var all []string
	for _, port := range s.Ports {
		text := fmt.Sprintf("%d/%s", port.Port, port.Protocol)
		if port.Name != "" {
			text += " (" + port.Name + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func listOf(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "no address of this node"
	}
	words := make([]string, len(addrs))
	for i, addr := range addrs {
		words[i] = addr.String()
	}
	return strings.Join(words, ", ")
}

// hasAddress reports whether an address is one of a Service's own.
func hasAddress(s service.Service, addr netip.Addr) bool { return len(kindsOf(s, addr)) > 0 }

// hasEndpoint reports whether an address is that of an endpoint of the Service.
func hasEndpoint(view service.View, addr netip.Addr) bool {
	return slices.ContainsFunc(view.Slices(), func(s service.Slice) bool {
		return slices.ContainsFunc(s.Endpoints, func(e service.Endpoint) bool { return e.Addr == addr })
	})
}
