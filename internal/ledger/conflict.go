package ledger

import (
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
)

// serverOf returns the virtual server that an entry is about, the zero key if it names none. (Address and port of an entry
// may be an endpoint's instead; its owner then wants no virtual server there.)
func serverOf(entry dataplane.Entry) dataplane.VirtualServerKey {
	if !entry.Addr.IsValid() || entry.Port == 0 {
		return dataplane.VirtualServerKey{}
	}
	return dataplane.KeyOf(entry.Protocol, entry.Addr, entry.Port)
}

// Loss is a virtual server that an owner wants, or wants reserved, and another one gets.
type Loss struct {
	Key      dataplane.VirtualServerKey
	Winner   Owner
	Reserved bool
}

// Lost lists the virtual servers that the owner wants in vain, in the order in which it named them. What two of them want
// reserved, neither loses to the other: what to do with the process that listens is for others to say.
func (l *Ledger) Lost(owner string) []Loss {
	held := l.holdings[owner]
	var losses []Loss
	for _, pool := range held.objects.Pools {
		if l.lost(pool.Key, held.owner) {
			losses = append(losses, Loss{pool.Key, *l.pools.claims[pool.Key][0].owner, pool.Reserved})
		}
	}
	return losses
}

// lost reports whether the owner wants the virtual server and another one gets it.
func (l *Ledger) lost(key dataplane.VirtualServerKey, owner *Owner) bool {
	claims := l.pools.claims[key]
	at := slices.IndexFunc(claims, func(c claim[dataplane.Pool]) bool { return c.owner == owner })
	return at > 0 && !(claims[at].value.Reserved && claims[0].value.Reserved)
}

// contest adds the entries whose fate may depend on who gets a virtual server: those of the owner whose wishes changed
// from before to now, and those of its rivals. They may be more than those that changed.
func (l *Ledger) contest(who *Owner, before, now dataplane.Objects, changes dataplane.Keys) {
	var rivals map[*Owner]struct{} // nil as long as there are none: nearly always
	var contested map[dataplane.VirtualServerKey]struct{}
	for _, objects := range []dataplane.Objects{before, now} {
		for _, pool := range objects.Pools {
			if !l.rivals(pool.Key, who) {
				continue
			}
			if rivals == nil {
				rivals, contested = make(map[*Owner]struct{}), make(map[dataplane.VirtualServerKey]struct{})
			}
			contested[pool.Key] = struct{}{}
			for _, c := range l.pools.claims[pool.Key] {
				rivals[c.owner] = struct{}{}
			}
		}
		for _, entry := range objects.Entries {
			if l.rivals(serverOf(entry), who) {
				changes.Entries[entry.Key()] = struct{}{}
			}
			l.contestException(who, entry, changes)
		}
	}
	for rival := range rivals {
		for _, entry := range l.holdings[rival.Name].objects.Entries {
			if _, ok := contested[serverOf(entry)]; ok {
				changes.Entries[entry.Key()] = struct{}{}
			}
		}
	}
}

// overruled reports whether the owner's entry makes an exception of a rule that another owner comes first to. (A NodePort
// is the example: its entry is a port alone, and so is about no virtual server that could be lost.)
func (l *Ledger) overruled(entry dataplane.Entry, owner *Owner) bool {
	rule, ok := l.exceptions.RuleOf(entry)
	claims := l.entries.claims[rule]
	return ok && len(claims) > 0 && claims[0].owner != owner
}

// contestException adds the exceptions whose fate may depend on an entry that the owner wants or wanted: the entry itself
// if it is one, or that which others make of it.
func (l *Ledger) contestException(who *Owner, entry dataplane.Entry, changes dataplane.Keys) {
	entry = entry.Key()
	other := func(c claim[uint32]) bool { return c.owner != who }
	if rule, ok := l.exceptions.RuleOf(entry); ok && slices.ContainsFunc(l.entries.claims[rule], other) {
		changes.Entries[entry] = struct{}{}
	}
	if set, ok := l.excepted[entry.Set]; ok {
		entry.Set = set
		if slices.ContainsFunc(l.entries.claims[entry], other) {
			changes.Entries[entry] = struct{}{}
		}
	}
}

// rivals reports whether others want the virtual server, too.
func (l *Ledger) rivals(key dataplane.VirtualServerKey, who *Owner) bool {
	return slices.ContainsFunc(l.pools.claims[key], func(c claim[dataplane.Pool]) bool { return c.owner != who })
}
