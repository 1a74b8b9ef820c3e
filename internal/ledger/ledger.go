package ledger

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// Owner is who wants objects: a Service, or the node itself.
type Owner struct {
	Name    string    // unique; for example "default/web"
	Created time.Time // decides conflicts: the older owner wins
}

// Compare orders owners by precedence. The name breaks ties, so the order is total.
func (o Owner) Compare(p Owner) int {
	return cmp.Or(o.Created.Compare(p.Created), cmp.Compare(o.Name, p.Name))
}

// Ledger holds desired objects by key, with their owners. It is not safe for concurrent use.
type Ledger struct {
	pools     table[dataplane.VirtualServerKey, dataplane.Pool]
	addresses table[netip.Addr, struct{}]
	entries   table[dataplane.Entry, uint32] // key without its mark → mark
	holdings  map[string]holding
	// exceptions is nil in a ledger without; excepted is its reverse.
	exceptions dataplane.Exceptions
	excepted   map[string]string
}

// holding is what one owner holds at present.
type holding struct {
	owner   *Owner
	objects dataplane.Objects
}

// New returns an empty ledger. Whether an exception holds is up to the owner whose rule it is an exception of.
func New(exceptions dataplane.Exceptions) *Ledger {
	excepted := make(map[string]string, len(exceptions))
	for exception, rule := range exceptions {
		excepted[rule] = exception
	}
	return &Ledger{
		exceptions: exceptions, excepted: excepted,
		pools:     newTable[dataplane.VirtualServerKey](dataplane.Pool.Equal),
		addresses: newTable[netip.Addr](func(_, _ struct{}) bool { return true }),
		entries:   newTable[dataplane.Entry](func(a, b uint32) bool { return a == b }),
		holdings:  make(map[string]holding),
	}
}

// Replace makes objects everything that the owner wants, and adds the keys whose desired state changed to changes. Empty
// objects remove the owner. The ledger keeps the objects' slices: the caller must not change them afterwards.
func (l *Ledger) Replace(owner Owner, objects dataplane.Objects, changes dataplane.Keys) {
	old := l.holdings[owner.Name]
	who, before := old.owner, old.objects
	if who == nil || !who.Created.Equal(owner.Created) {
		// A Service deleted and created again is another owner: its precedence changed.
		l.release(old, dataplane.Objects{}, changes)
		old = holding{}
		who = &owner
	}
	l.release(old, objects, changes)
	l.claim(who, objects, changes)
	if len(objects.Pools)+len(objects.Addresses)+len(objects.Entries) == 0 {
		delete(l.holdings, owner.Name)
	} else {
		l.holdings[owner.Name] = holding{who, objects}
	}
	l.contest(who, before, objects, changes)
}

// claim records the owner's objects.
func (l *Ledger) claim(owner *Owner, objects dataplane.Objects, changes dataplane.Keys) {
	for _, pool := range objects.Pools {
		if l.pools.put(pool.Key, owner, pool) {
			changes.VirtualServers[pool.Key] = struct{}{}
		}
	}
	for _, addr := range objects.Addresses {
		if l.addresses.put(addr, owner, struct{}{}) {
			changes.Addresses[addr] = struct{}{}
		}
	}
	for _, entry := range objects.Entries {
		if l.entries.put(entry.Key(), owner, entry.Mark) {
			changes.Entries[entry.Key()] = struct{}{}
		}
	}
}

// release drops those claims of a holding that are not among the objects to keep.
func (l *Ledger) release(old holding, keep dataplane.Objects, changes dataplane.Keys) {
	if old.owner == nil {
		return
	}
	pools := keySet(keep.Pools, func(p dataplane.Pool) dataplane.VirtualServerKey { return p.Key })
	for _, pool := range old.objects.Pools {
		if _, kept := pools[pool.Key]; !kept && l.pools.drop(pool.Key, old.owner) {
			changes.VirtualServers[pool.Key] = struct{}{}
		}
	}
	addresses := keySet(keep.Addresses, func(a netip.Addr) netip.Addr { return a })
	for _, addr := range old.objects.Addresses {
		if _, kept := addresses[addr]; !kept && l.addresses.drop(addr, old.owner) {
			changes.Addresses[addr] = struct{}{}
		}
	}
	entries := keySet(keep.Entries, dataplane.Entry.Key)
	for _, entry := range old.objects.Entries {
		if _, kept := entries[entry.Key()]; !kept && l.entries.drop(entry.Key(), old.owner) {
			changes.Entries[entry.Key()] = struct{}{}
		}
	}
}

func keySet[T any, K comparable](items []T, key func(T) K) map[K]struct{} {
	set := make(map[K]struct{}, len(items))
	for _, item := range items {
		set[key(item)] = struct{}{}
	}
	return set
}

// Pool returns the desired pool of a virtual server, if one is wanted rather than reserved.
func (l *Ledger) Pool(key dataplane.VirtualServerKey) (dataplane.Pool, bool) {
	pool, claimed := l.pools.winner(key)
	return pool, claimed && !pool.Reserved
}

// Address reports whether the address is wanted on the device.
func (l *Ledger) Address(addr netip.Addr) bool {
	_, ok := l.addresses.winner(addr)
	return ok
}

// Entry returns the desired entry with the given key, its mark filled in, if one is wanted. Who wants a virtual server,
// but does not get it, has no say in the entries about it; nor has, in the exceptions of a rule, who comes second to it.
func (l *Ledger) Entry(key dataplane.Entry) (dataplane.Entry, bool) {
	key = key.Key()
	c, wanted := l.entryClaim(key)
	key.Mark = c.value
	return key, wanted
}

// entryClaim returns the claim on an entry that counts, if there is one.
func (l *Ledger) entryClaim(key dataplane.Entry) (claim[uint32], bool) {
	for _, c := range l.entries.claims[key] {
		if !l.lost(serverOf(key), c.owner) && !l.overruled(key, c.owner) {
			return c, true
		}
	}
	return claim[uint32]{}, false
}

// Pools returns the virtual servers that an owner wants at present, whether it gets them or not.
func (l *Ledger) Pools(owner string) []dataplane.Pool { return l.holdings[owner].objects.Pools }

// Contested reports whether more than one owner wants the virtual server.
func (l *Ledger) Contested(key dataplane.VirtualServerKey) bool { return len(l.pools.claims[key]) > 1 }

// Owners lists the owners of a virtual server, the one that counts first.
func (l *Ledger) Owners(key dataplane.VirtualServerKey) []Owner {
	var owners []Owner
	for _, c := range l.pools.claims[key] {
		owners = append(owners, *c.owner)
	}
	return owners
}

// All returns every key that somebody wants.
func (l *Ledger) All() dataplane.Keys {
	return dataplane.Keys{
		VirtualServers: maps.Collect(keys(l.pools.claims)),
		Addresses:      maps.Collect(keys(l.addresses.claims)),
		Entries:        maps.Collect(keys(l.entries.claims)),
	}
}

func keys[K comparable, V any](m map[K]V) iter.Seq2[K, struct{}] {
	return func(yield func(K, struct{}) bool) {
		for key := range m {
			if !yield(key, struct{}{}) {
				return
			}
		}
	}
}

// Objects returns everything that is wanted, in no particular order.
func (l *Ledger) Objects() dataplane.Objects {
	var all dataplane.Objects
	for key := range l.pools.claims {
		if pool, wanted := l.Pool(key); wanted {
			all.Pools = append(all.Pools, pool)
		}
	}
	for addr := range l.addresses.claims {
		all.Addresses = append(all.Addresses, addr)
	}
	for key := range l.entries.claims {
		if entry, wanted := l.Entry(key); wanted {
			all.Entries = append(all.Entries, entry)
		}
	}
	return all
}
