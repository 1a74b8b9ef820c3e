package admin

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
)

// Compile returns what rules want of each table, as text.
type Compile func(dataplane.Ruleset) ([]Table, error)

// Of returns the view of what a reconciler wants. The error is that of a rule that cannot be expressed.
func Of(view reconcile.View, settings Settings, compile Compile) (View, error) {
	out := View{
		Settings:       settings,
		State:          stateOf(view),
		VirtualServers: make([]VirtualServer, 0, len(view.Objects.Pools)),
		Addresses:      make([]Address, 0, len(view.Objects.Addresses)),
		Sets:           setsOf(view),
	}
	for _, i := range order(view.Objects.Pools, func(a, b dataplane.Pool) int { return a.Key.Compare(b.Key) }) {
		out.VirtualServers = append(out.VirtualServers, serverOf(view.Objects.Pools[i], view.Owners.Pools[i]))
	}
	for _, i := range order(view.Objects.Addresses, netip.Addr.Compare) {
		out.Addresses = append(out.Addresses, Address{view.Objects.Addresses[i], ownerOf(view.Owners.Addresses[i])})
	}
	for _, member := range view.Draining {
		out.Draining = append(out.Draining, DrainingServer{VirtualServer: keyOf(member.VirtualServer), Address: member.Addr})
	}
	for _, rules := range view.Foundation.Rulesets {
		tables, err := compile(rules)
		if err != nil {
			return View{}, fmt.Errorf("put the rules into iptables' words: %w", err)
		}
		out.Tables = append(out.Tables, tables...)
	}
	return out, nil
}

// order returns the indices of items as they are when sorted.
func order[T any](items []T, compare func(a, b T) int) []int {
	indices := slices.Collect(func(yield func(int) bool) {
		for i := range items {
			if !yield(i) {
				return
			}
		}
	})
	slices.SortFunc(indices, func(a, b int) int { return compare(items[a], items[b]) })
	return indices
}

func ownerOf(o reconcile.Owner) Owner {
	return Owner{Source: o.Source, Namespace: o.Service.Namespace, Name: o.Service.Name, Port: o.Port}
}

func protocolName(p dataplane.Protocol) string {
	if p == 0 {
		return ""
	}
	return strings.ToUpper(p.String())
}

func keyOf(key dataplane.VirtualServerKey) ServerKey {
	if key.Mark != 0 {
		return ServerKey{Mark: key.Mark, Family: key.Family.String()}
	}
	return ServerKey{Protocol: protocolName(key.Protocol), Address: netip.AddrPortFrom(key.Addr, key.Port)}
}

func serverOf(pool dataplane.Pool, owner reconcile.Owner) VirtualServer {
	server := VirtualServer{ServerKey: keyOf(pool.Key), Scheduler: pool.Scheduler, Flags: uint32(pool.Flags), Timeout: pool.Timeout,
		MaskBits: pool.MaskBits, RealServers: make([]RealServer, len(pool.RealServers)), Owner: ownerOf(owner)}
	for i, real := range pool.RealServers {
		server.RealServers[i] = RealServer{Address: real.Addr, Weight: real.Weight}
		if real.Forwarding != dataplane.Masquerade {
			server.RealServers[i].Forwarding = real.Forwarding.String()
		}
	}
	for _, target := range pool.For {
		server.For = append(server.For, keyOf(target))
	}
	return server
}

// setsOf returns the sets, in the order in which they are made, with their entries.
func setsOf(view reconcile.View) []Set {
	sets, at := make([]Set, len(view.Foundation.Sets)), make(map[string]int, len(view.Foundation.Sets))
	for i, set := range view.Foundation.Sets {
		sets[i] = Set{Name: set.Name, Type: set.Type.String(), Family: set.Family.String(), HashSize: set.HashSize, MaxElem: set.MaxElem,
			Marks: set.Marks}
		at[set.Name] = i
	}
	for _, i := range order(view.Objects.Entries, dataplane.Entry.Compare) {
		entry := view.Objects.Entries[i]
		if set, known := at[entry.Set]; known {
			sets[set].Entries = append(sets[set].Entries, Entry{Address: entry.Addr, Protocol: protocolName(entry.Protocol), Port: entry.Port,
				Peer: entry.Peer, Mark: entry.Mark, Owner: ownerOf(view.Owners.Entries[i])})
		}
	}
	return sets
}

// names are the words of the view, and what they mean.
type names struct {
	protocols  map[string]dataplane.Protocol
	families   map[string]dataplane.Family
	types      map[string]dataplane.SetType
	forwarding map[string]dataplane.ForwardingMethod
}

func newNames() names {
	n := names{
		protocols:  map[string]dataplane.Protocol{"": 0},
		families:   map[string]dataplane.Family{},
		types:      map[string]dataplane.SetType{},
		forwarding: map[string]dataplane.ForwardingMethod{"": dataplane.Masquerade},
	}
	for _, p := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP, dataplane.SCTP} {
		n.protocols[protocolName(p)] = p
	}
	for _, f := range dataplane.Families() {
		n.families[f.String()] = f
	}
	for t := dataplane.HashIP; t <= dataplane.BitmapPort; t++ {
		n.types[t.String()] = t
	}
	for _, f := range []dataplane.ForwardingMethod{dataplane.Tunnel, dataplane.DirectRoute} {
		n.forwarding[f.String()] = f
	}
	return n
}

// lookUp returns what a word means. What another version of the daemon says that this one does not know is an error.
func lookUp[T any](words map[string]T, kind, word string) (T, error) {
	meaning, known := words[word]
	if !known {
		return meaning, fmt.Errorf("the %s %q is not known, only %q: the daemon is of another version than this program", kind, word,
			slices.Sorted(maps.Keys(words)))
	}
	return meaning, nil
}
