package plan

import (
	"net/netip"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// only is a desired state of virtual servers.
type only map[dataplane.VirtualServerKey]dataplane.Pool

func (o only) Pool(key dataplane.VirtualServerKey) (dataplane.Pool, bool) {
	pool, ok := o[key]
	return pool, ok
}
func (only) Address(netip.Addr) bool                           { return false }
func (only) Entry(key dataplane.Entry) (dataplane.Entry, bool) { return key, false }

// Which addresses have a mark is forgotten with its virtual server, also when that never came to be, for want of endpoints.
func TestTargetsAreForgotten(t *testing.T) {
	p, mark := New(Options{DrainTimeout: time.Minute}), dataplane.MarkKeyOf(dataplane.IPv4, 7)
	target := dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("203.0.113.1"), 80)
	pool := dataplane.Pool{VirtualServer: dataplane.VirtualServer{Key: mark}, For: []dataplane.VirtualServerKey{target}}
	keys := dataplane.NewKeys()
	keys.VirtualServers[mark] = struct{}{}
	p.Plan(Request{Keys: keys, Desired: only{mark: pool}})
	if len(p.marked) != 1 || len(p.apart) != 1 {
		t.Fatalf("known are %v and %v", p.marked, p.apart)
	}
	p.Plan(Request{Keys: keys, Desired: only{}})
	if len(p.marked)+len(p.apart) > 0 {
		t.Errorf("still known are %v and %v", p.marked, p.apart)
	}
}
