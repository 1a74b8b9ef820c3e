package plan

import (
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
)

// reals are the real servers of one virtual server, sorted by address. There are as many of them in all as a cluster has
// endpoints behind ports, and a map of ten takes three times the memory.
type reals []dataplane.RealServer

func (r reals) find(addr netip.AddrPort) (at int, found bool) {
	return slices.BinarySearchFunc(r, addr, func(real dataplane.RealServer, addr netip.AddrPort) int {
		return real.Addr.Compare(addr)
	})
}

// get returns the real server with an address, if there is one.
func (r reals) get(addr netip.AddrPort) (dataplane.RealServer, bool) {
	if at, found := r.find(addr); found {
		return r[at], true
	}
	return dataplane.RealServer{}, false
}

func (r reals) has(addr netip.AddrPort) bool {
	_, found := r.find(addr)
	return found
}

// put adds a real server, or replaces the one with its address.
func (r *reals) put(real dataplane.RealServer) {
	at, found := r.find(real.Addr)
	if found {
		(*r)[at] = real
		return
	}
	*r = slices.Insert(*r, at, real)
}

func (r *reals) drop(addr netip.AddrPort) {
	if at, found := r.find(addr); found {
		*r = slices.Delete(*r, at, at+1)
	}
}

// as makes what is known of some addresses the same as in others.
func (r *reals) as(others reals, addrs map[netip.AddrPort]struct{}) {
	for addr := range addrs {
		if real, ok := others.get(addr); ok {
			r.put(real)
		} else {
			r.drop(addr)
		}
	}
}

// sameAs reports whether these are exactly the real servers in a list, whatever its order.
func (r reals) sameAs(list []dataplane.RealServer) bool {
	if len(r) != len(list) {
		return false
	}
	for _, real := range list {
		if now, ok := r.get(real.Addr); !ok || now != real {
			return false
		}
	}
	return true
}
