package service

import (
	"cmp"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
)

// View is a Service joined with its slices at one moment. It does not change.
type View struct {
	Service
	slices []*Slice // by name
}

// NewView joins a Service with slices without a Catalog; which Service the slices say they belong to is not looked at.
func NewView(s Service, parts ...Slice) View {
	v := View{Service: s}
	for i := range parts {
		v.slices = append(v.slices, &parts[i])
	}
	slices.SortFunc(v.slices, func(a, b *Slice) int { return compareSliceName(a, b.Name) })
	return v
}

// Slices returns the slices in the order of their names.
func (v View) Slices() []Slice {
	out := make([]Slice, len(v.slices))
	for i, s := range v.slices {
		out[i] = *s
	}
	return out
}

// PortEndpoint is an endpoint together with the number that a named port has there. The Endpoint is shared: it is not
// to be changed.
type PortEndpoint struct {
	*Endpoint
	Port uint16
}

// AddrPort returns the socket address of the port.
func (e PortEndpoint) AddrPort() netip.AddrPort { return netip.AddrPortFrom(e.Addr, e.Port) }

// Endpoints returns where the slices say a port of the Service is served, of both families, ordered by address and
// port number. A slice serves the port when it has one of the same name and protocol, under a number of its own. What
// several slices list appears once, in its readiest form: while an endpoint moves between slices, or a Pod inherits the
// address of one that ends, both are listed for a moment. Addresses that no packet can be sent to are left out.
func (v View) Endpoints(port Port) []PortEndpoint {
	var out []PortEndpoint
	for _, s := range v.slices {
		for _, p := range s.Ports {
			if p.Name != port.Name || p.Protocol != port.Protocol || p.Port == 0 {
				continue
			}
			out = slices.Grow(out, len(s.Endpoints))
			for i := range s.Endpoints {
				if e := &s.Endpoints[i]; Reachable(e.Addr) {
					out = append(out, PortEndpoint{e, p.Port})
				}
			}
		}
	}
	// The sort is stable, so that of equally ready duplicates the one of the first slice stays, whatever the order in
	// which the slices arrived.
	slices.SortStableFunc(out, func(a, b PortEndpoint) int {
		if order := a.AddrPort().Compare(b.AddrPort()); order != 0 {
			return order
		}
		return cmp.Compare(b.readiness(), a.readiness())
	})
	return slices.CompactFunc(out, func(a, b PortEndpoint) bool { return a.AddrPort() == b.AddrPort() })
}

// OfFamily returns the part of what View.Endpoints returned that is of one family.
func OfFamily(endpoints []PortEndpoint, family dataplane.Family) []PortEndpoint {
	// Addresses are ordered by length first.
	i, _ := slices.BinarySearchFunc(endpoints, dataplane.IPv6, func(e PortEndpoint, f dataplane.Family) int {
		return cmp.Compare(dataplane.FamilyOf(e.Addr), f)
	})
	if family == dataplane.IPv4 {
		return endpoints[:i:i]
	}
	return endpoints[i:]
}

// readiness ranks the conditions of an endpoint; more is better. One that is not terminating comes before one that is
// in the same state otherwise: it is the Pod that has the address from now on.
func (e Endpoint) readiness() int {
	rank := 0
	if e.Ready {
		rank += 4
	}
	if e.Serving {
		rank += 2
	}
	if !e.Terminating {
		rank++
	}
	return rank
}

// Reachable reports whether an address can be a real server's or a virtual server's: one of a single host, without a zone,
// and not an IPv4 address in the clothes of an IPv6 one.
func Reachable(addr netip.Addr) bool {
	return addr.IsValid() && !addr.Is4In6() && addr.Zone() == "" && !addr.IsUnspecified() && !addr.IsMulticast()
}
