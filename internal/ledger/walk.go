package ledger

import (
	"iter"
	"maps"
	"net/netip"

	"kube-ipvs-proxy/internal/dataplane"
)

// VirtualServers yields the keys of all virtual servers that somebody wants or reserves.
func (l *Ledger) VirtualServers() iter.Seq[dataplane.VirtualServerKey] {
	return maps.Keys(l.pools.claims)
}

// Addresses yields all addresses that somebody wants.
func (l *Ledger) Addresses() iter.Seq[netip.Addr] { return maps.Keys(l.addresses.claims) }

// Entries yields the keys of all entries that somebody wants.
func (l *Ledger) Entries() iter.Seq[dataplane.Entry] { return maps.Keys(l.entries.claims) }
