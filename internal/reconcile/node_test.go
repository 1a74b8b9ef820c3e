package reconcile_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// P06: a Node that was deleted and registered anew has no addresses and no pod ranges until a controller gives it some.
// That says nothing about the node: NodePorts and rules stay on what was known.
func TestP06NodeRegisteredAnewKeepsNodePorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, o := newFake(t), options()
		var err error
		o.NodePorts, err = service.ParseNodePortAddresses([]string{"primary"})
		must(t, err)
		o.Service.Masquerade.Local.NodeCIDRs = true
		f := startWith(t, fake, fake, o)
		f.source.SetNode(service.Node{Name: "node-1", Zone: "a", Addresses: []netip.Addr{nodeAddress},
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.7.0/24")}})
		f.source.SetService(web("web", "10.96.0.1", 30007))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		key := dataplane.KeyOf(dataplane.TCP, nodeAddress, 30007)
		f.expectReals(key, map[string]uint32{"10.1.0.1": 1})
		f.source.DeleteNode("node-1")
		f.settle(time.Second)
		f.source.SetNode(service.Node{Name: "node-1"})
		f.settle(time.Minute)
		f.expectReals(key, map[string]uint32{"10.1.0.1": 1})
		if rules, _ := fake.Ruleset(dataplane.IPv4); !strings.Contains(fmt.Sprint(rules), "10.244.7.0/24") {
			t.Error("the pod range is gone from the rules")
		}
		other := netip.MustParseAddr("192.0.2.11")
		must(t, fake.AddNodeAddress(dataplane.NodeAddress{Addr: other, Interface: "eth0"}))
		f.source.SetNode(service.Node{Name: "node-1", Addresses: []netip.Addr{other}})
		f.settle(time.Minute)
		f.expectReals(dataplane.KeyOf(dataplane.TCP, other, 30007), map[string]uint32{"10.1.0.1": 1})
		f.expectReals(key, map[string]uint32{})
	})
}

// P06, P33: an address that is gone for a moment, as while its interface is configured anew, costs NodePorts nothing; one
// that stays away is given up.
func TestP06AddressGoneForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		f.source.SetService(web("web", "10.96.0.1", 30007))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		f.settle(time.Second)
		f.kernel.ResetRecord()
		addr := dataplane.NodeAddress{Addr: nodeAddress, Interface: "eth0"}
		for range 5 {
			must(t, f.kernel.DropNodeAddress(addr))
			f.settle(4 * time.Second)
			must(t, f.kernel.AddNodeAddress(addr))
			f.settle(4 * time.Second)
		}
		if log := f.kernel.Log(); len(log) > 0 {
			t.Errorf("an address that came back each time cost %v", log)
		}
		must(t, f.kernel.DropNodeAddress(addr))
		f.settle(11 * time.Second)
		f.expectReals(dataplane.KeyOf(dataplane.TCP, nodeAddress, 30007), nil)
	})
}
