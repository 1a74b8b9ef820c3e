package dataplane

import (
	"net/netip"
	"slices"
	"strings"
)

// Objects are data-plane objects of every kind: what one Service wants, or what a snapshot of the kernel found.
type Objects struct {
	Pools     []Pool
	Addresses []netip.Addr // bound to Device
	Entries   []Entry
}

// Dump prints objects as sorted text: virtual and real servers as `ipvsadm -Sn`, then addresses, then set entries as
// `ipset save`. Equal states print equal text.
func (o Objects) Dump() string {
	var b strings.Builder
	pools := slices.SortedFunc(slices.Values(o.Pools), func(a, c Pool) int { return a.Key.Compare(c.Key) })
	for _, pool := range pools {
		b.WriteString(pool.VirtualServer.String() + "\n")
		servers := slices.SortedFunc(slices.Values(pool.RealServers), func(a, c RealServer) int { return a.Addr.Compare(c.Addr) })
		for _, server := range servers {
			b.WriteString(Member{pool.Key, server}.String() + "\n")
		}
	}
	for _, addr := range slices.SortedFunc(slices.Values(o.Addresses), netip.Addr.Compare) {
		b.WriteString(Address{addr}.String() + "\n")
	}
	for _, entry := range slices.SortedFunc(slices.Values(o.Entries), Entry.Compare) {
		b.WriteString(entry.String() + "\n")
	}
	return b.String()
}
