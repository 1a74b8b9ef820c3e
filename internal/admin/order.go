package admin

import (
	"cmp"
	"encoding/binary"
	"net/netip"

	"kube-ipvs-proxy/internal/dataplane"
)

// asIpvsadm puts virtual servers and their real servers into the order in which ipvsadm prints them. It sorts what the
// kernel gives it by the signed 32-bit difference of addresses, for which three of them can each come before the next, round in
// a circle: what results then depends on the order in the kernel, and on how the C library sorts. So both are needed.
// Found are the kernel's virtual servers in its order. What is not there comes after what is.
func asIpvsadm(pools, found []dataplane.Pool) []dataplane.Pool {
	wanted := make(map[dataplane.VirtualServerKey]dataplane.Pool, len(pools))
	for _, pool := range pools {
		if len(pool.RealServers) > 0 { // others are not in the kernel either
			wanted[pool.Key] = pool
		}
	}
	ordered := make([]dataplane.Pool, 0, len(wanted))
	take := func(key dataplane.VirtualServerKey, members []dataplane.RealServer) {
		if pool, ok := wanted[key]; ok {
			pool.RealServers = inOrderOf(pool.RealServers, members)
			ordered = append(ordered, pool)
			delete(wanted, key)
		}
	}
	for _, there := range found {
		take(there.Key, there.RealServers)
	}
	for _, pool := range pools {
		take(pool.Key, nil)
	}
	mergeSort(ordered, func(a, b dataplane.Pool) int { return compareServers(a.Key, b.Key) })
	for _, pool := range ordered {
		mergeSort(pool.RealServers, func(a, b dataplane.RealServer) int { return compareAddrPorts(a.Addr, b.Addr) })
	}
	return ordered
}

// inOrderOf returns a copy of the real servers in the order in which they are found, those that are not last.
func inOrderOf(wanted, found []dataplane.RealServer) []dataplane.RealServer {
	left := make(map[netip.AddrPort]dataplane.RealServer, len(wanted))
	for _, real := range wanted {
		left[real.Addr] = real
	}
	ordered := make([]dataplane.RealServer, 0, len(wanted))
	for _, list := range [][]dataplane.RealServer{found, wanted} {
		for _, one := range list {
			if real, ok := left[one.Addr]; ok {
				ordered = append(ordered, real)
				delete(left, one.Addr)
			}
		}
	}
	return ordered
}

// compareServers compares two virtual servers as ipvsadm does.
func compareServers(a, b dataplane.VirtualServerKey) int {
	return cmp.Or(difference(a.Mark, b.Mark), cmp.Compare(a.Family, b.Family), cmp.Compare(a.Protocol, b.Protocol),
		compareAddrPorts(netip.AddrPortFrom(a.Addr, a.Port), netip.AddrPortFrom(b.Addr, b.Port)))
}

func compareAddrPorts(a, b netip.AddrPort) int {
	left, right := a.Addr().AsSlice(), b.Addr().AsSlice() // of one family, or none in both
	for len(left) > 0 && len(left) == len(right) {
		if d := difference(binary.BigEndian.Uint32(left), binary.BigEndian.Uint32(right)); d != 0 {
			return d
		}
		left, right = left[4:], right[4:]
	}
	return cmp.Compare(a.Port(), b.Port())
}

// difference is the difference of two numbers as a C program computes it that stores it in an int.
func difference(a, b uint32) int { return int(int32(a - b)) }

// mergeSort sorts as the C library's qsort does: the same comparisons in the same order.
func mergeSort[T any](items []T, compare func(a, b T) int) {
	if len(items) < 2 {
		return
	}
	left, right := items[:len(items)/2], items[len(items)/2:]
	mergeSort(left, compare)
	mergeSort(right, compare)
	merged := make([]T, 0, len(items))
	for len(left) > 0 && len(right) > 0 {
		if compare(left[0], right[0]) <= 0 {
			merged, left = append(merged, left[0]), left[1:]
		} else {
			merged, right = append(merged, right[0]), right[1:]
		}
	}
	merged = append(append(merged, left...), right...)
	copy(items, merged)
}
