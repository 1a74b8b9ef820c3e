package ledger_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
)

// A virtual server that an owner wants reserved for a process of the node is not there, unless an older one wants it
// served; the loser of the two is known. Two who want it reserved lose nothing to each other.
func TestReservedVirtualServers(t *testing.T) {
	l := ledger.New(nil)
	key := dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("192.0.2.10"), 30080)
	served := dataplane.Objects{Pools: []dataplane.Pool{{VirtualServer: dataplane.VirtualServer{Key: key, Scheduler: "rr"}}}}
	reserved := dataplane.Objects{Pools: []dataplane.Pool{{VirtualServer: dataplane.VirtualServer{Key: key}, Reserved: true}}}
	owners := map[string]ledger.Owner{}
	for i, name := range []string{"first", "second", "third"} {
		owners[name] = ledger.Owner{Name: name, Created: time.Unix(int64(i), 0)}
	}
	for i, step := range []struct {
		owner   string
		objects dataplane.Objects
		changes bool
		wanted  bool
		losers  []string
	}{
		{"second", served, true, true, nil},
		{"third", reserved, false, true, []string{"third"}},
		{"first", reserved, true, false, []string{"second"}}, // the third one loses to a process, not to a virtual server
		{"second", dataplane.Objects{}, false, false, nil},
		{"second", reserved, false, false, nil},
		{"first", served, true, true, []string{"second", "third"}},
		{"first", reserved, true, false, nil},
		{"first", dataplane.Objects{}, false, false, nil},
		{"third", served, false, false, []string{"third"}},
		{"second", dataplane.Objects{}, true, true, nil},
	} {
		changes := dataplane.NewKeys()
		l.Replace(owners[step.owner], step.objects, changes)
		if _, wanted := l.Pool(key); wanted != step.wanted || len(l.Objects().Pools) > 0 != step.wanted {
			t.Errorf("step %d: wanted %v, want %v; among %v", i, wanted, step.wanted, l.Objects().Pools)
		}
		if _, changed := changes.VirtualServers[key]; changed != step.changes {
			t.Errorf("step %d: changed %v, want %v", i, changed, step.changes)
		}
		var losers []string
		for _, name := range []string{"first", "second", "third"} {
			for _, loss := range l.Lost(name) {
				losers = append(losers, name)
				if loss.Reserved != l.Pools(name)[0].Reserved || loss.Key != key {
					t.Errorf("step %d: %s lost %+v", i, name, loss)
				}
			}
		}
		if !slices.Equal(losers, step.losers) {
			t.Errorf("step %d: the losers are %v, want %v", i, losers, step.losers)
		}
	}
}
