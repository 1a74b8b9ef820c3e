package translate

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// realServers returns the wanted endpoints as real servers, in the order in which they are to be inserted.
//
// IPVS walks its real servers in the order of insertion, so that every node that starts with the same order sends its
// first connections to the same endpoint (P15). The order therefore comes from a hash of the address, keyed by node and
// virtual server: different on each node, the same every time, and an endpoint that comes or goes leaves the others
// where they were.
func realServers(node string, key dataplane.VirtualServerKey, wanted []service.PortEndpoint) []dataplane.RealServer {
	type placed struct {
		place uint64
		addr  netip.AddrPort
	}
	seed := seedOf(node, key)
	order := make([]placed, len(wanted))
	for i, e := range wanted {
		order[i] = placed{absorb(seed, e.Addr, e.Port), e.AddrPort()}
	}
	slices.SortFunc(order, func(a, b placed) int {
		if a.place != b.place {
			return cmp.Compare(a.place, b.place)
		}
		return a.addr.Compare(b.addr)
	})
	out := make([]dataplane.RealServer, len(order))
	for i, p := range order {
		out[i] = dataplane.RealServer{Addr: p.addr, Weight: 1, Forwarding: dataplane.Masquerade}
	}
	return out
}

// seedOf hashes the node's name (FNV-1a) and the virtual server.
func seedOf(node string, key dataplane.VirtualServerKey) uint64 {
	seed := uint64(14695981039346656037)
	for i := range len(node) {
		seed = (seed ^ uint64(node[i])) * 1099511628211
	}
	return absorb(mix(seed^uint64(key.Protocol)^uint64(key.Mark)<<8), key.Addr, key.Port)
}

func absorb(hash uint64, addr netip.Addr, port uint16) uint64 {
	b := addr.As16()
	hash = mix(hash ^ binary.BigEndian.Uint64(b[:8]))
	hash = mix(hash ^ binary.BigEndian.Uint64(b[8:]))
	return mix(hash ^ uint64(port))
}

// mix spreads every bit over all (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
