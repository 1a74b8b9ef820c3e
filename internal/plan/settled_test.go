package plan

import (
	"iter"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// wishes is a desired state.
type wishes struct {
	pools     map[dataplane.VirtualServerKey]dataplane.Pool
	addresses map[netip.Addr]struct{}
	entries   map[dataplane.Entry]uint32
}

func (w wishes) Pool(key dataplane.VirtualServerKey) (dataplane.Pool, bool) {
	pool, ok := w.pools[key]
	return pool, ok
}
func (w wishes) Address(addr netip.Addr) bool { return contains(w.addresses, addr) }
func (w wishes) Entry(key dataplane.Entry) (dataplane.Entry, bool) {
	mark, ok := w.entries[key]
	key.Mark = mark
	return key, ok
}
func (w wishes) VirtualServers() iter.Seq[dataplane.VirtualServerKey] { return maps.Keys(w.pools) }
func (w wishes) Addresses() iter.Seq[netip.Addr]                      { return maps.Keys(w.addresses) }
func (w wishes) Entries() iter.Seq[dataplane.Entry]                   { return maps.Keys(w.entries) }

// state draws a desired state and the same as found in a kernel. Mostly they are like those drawn by the same seed.
func state(seed uint64) (wishes, dataplane.Objects) {
	random := rand.New(rand.NewPCG(seed, 1))
	w := wishes{map[dataplane.VirtualServerKey]dataplane.Pool{}, map[netip.Addr]struct{}{}, map[dataplane.Entry]uint32{}}
	for i := range byte(12) {
		addr := netip.AddrFrom4([4]byte{10, 96, 0, i})
		if random.IntN(6) == 0 {
			continue
		}
		w.addresses[addr] = struct{}{}
		w.entries[dataplane.Entry{Set: "KUBE-CLUSTER-IP", Addr: addr, Protocol: dataplane.TCP, Port: 80}] = uint32(random.IntN(2))
		pool := dataplane.Pool{VirtualServer: dataplane.VirtualServer{Key: dataplane.KeyOf([]dataplane.Protocol{dataplane.TCP, dataplane.UDP}[i%2], addr, 80),
			Scheduler: []string{"rr", "sh"}[random.IntN(2)]}}
		for e := range byte(4) {
			real := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, i, e}), 8080)
			switch random.IntN(4) {
			case 0:
				pool.RealServers = append(pool.RealServers, dataplane.RealServer{Addr: real, Weight: 1})
			case 1:
				pool.Leaving = append(pool.Leaving, real)
				pool.Listed = append(pool.Listed, real)
			}
		}
		w.pools[pool.Key] = pool
	}
	found := dataplane.Objects{Addresses: slices.Collect(maps.Keys(w.addresses))}
	for key, mark := range w.entries {
		key.Mark = mark
		found.Entries = append(found.Entries, key)
	}
	for _, pool := range w.pools {
		pool.RealServers = slices.Clone(pool.RealServers)
		slices.Reverse(pool.RealServers)
		found.Pools = append(found.Pools, pool)
	}
	return w, found
}

// Planning what is unsettled does what planning everything does, whatever was planned before.
func TestP03NothingElseIsUnsettled(t *testing.T) {
	settled := 0
	for seed := range uint64(300) {
		var plans [2][][]dataplane.Operation
		for i := range plans {
			p := New(Options{DrainTimeout: time.Minute, Ours: func(dataplane.VirtualServerKey) bool { return true }})
			random := rand.New(rand.NewPCG(seed, 2))
			for turn := range 6 {
				wanted, _ := state(seed + random.Uint64N(3))
				_, found := state(seed + random.Uint64N(3))
				p.Adopt(found)
				keys := dataplane.NewKeys()
				p.Unsettled(wanted, keys)
				if i == 0 {
					settled += len(wanted.pools) - len(keys.VirtualServers)
					keys.Merge(p.Keys())
					keys.Merge(dataplane.Keys{VirtualServers: setOf(slices.Collect(wanted.VirtualServers())),
						Addresses: setOf(slices.Collect(wanted.Addresses())), Entries: setOf(slices.Collect(wanted.Entries()))})
				}
				now := time.Unix(int64(turn)*25, 0)
				operations := p.Plan(Request{Keys: keys, Desired: wanted, Now: now})
				plans[i] = append(plans[i], operations)
				for _, op := range operations[:len(operations)/2] { // the rest fails
					p.Confirm(op, nil)
				}
			}
		}
		for turn := range plans[0] {
			if !slices.Equal(plans[0][turn], plans[1][turn]) {
				t.Fatalf("seed %d, turn %d: planning everything yields\n%v\nplanning what is unsettled\n%v", seed, turn, plans[0][turn], plans[1][turn])
			}
		}
	}
	if settled == 0 {
		t.Error("nothing was ever settled")
	}
}
