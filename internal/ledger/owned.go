package ledger

import (
	"net/netip"

	"kube-ipvs-proxy/internal/dataplane"
)

// Owned is everything that is wanted, each object with the owner whose wish counts: PoolOwners[i] is that of Pools[i], and
// so on. What it refers to does not change any more.
type Owned struct {
	dataplane.Objects
	PoolOwners, AddressOwners, EntryOwners []*Owner
}

// Owned returns a copy of everything that is wanted, in no particular order. It costs a look at each object and no more:
// the real servers of a pool are shared.
func (l *Ledger) Owned() Owned {
	all := l.OwnedPools()
	all.Addresses, all.AddressOwners = make([]netip.Addr, 0, len(l.addresses.claims)), make([]*Owner, 0, len(l.addresses.claims))
	all.Entries, all.EntryOwners = make([]dataplane.Entry, 0, len(l.entries.claims)), make([]*Owner, 0, len(l.entries.claims))
	for addr, claims := range l.addresses.claims {
		all.Addresses, all.AddressOwners = append(all.Addresses, addr), append(all.AddressOwners, claims[0].owner)
	}
	for key := range l.entries.claims {
		if c, wanted := l.entryClaim(key); wanted {
			key.Mark = c.value
			all.Entries, all.EntryOwners = append(all.Entries, key), append(all.EntryOwners, c.owner)
		}
	}
	return all
}

// OwnedPools is Owned for pools alone, which are few beside the entries.
func (l *Ledger) OwnedPools() Owned {
	all := Owned{
		Objects:    dataplane.Objects{Pools: make([]dataplane.Pool, 0, len(l.pools.claims))},
		PoolOwners: make([]*Owner, 0, len(l.pools.claims)),
	}
	for _, claims := range l.pools.claims {
		if c := claims[0]; !c.value.Reserved {
			all.Pools, all.PoolOwners = append(all.Pools, c.value), append(all.PoolOwners, c.owner)
		}
	}
	return all
}
