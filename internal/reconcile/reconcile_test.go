package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// recorder is an observer that remembers.
type recorder struct {
	mu     sync.Mutex
	rounds []reconcile.Round
	steps  []error // that failed
	audits []reconcile.Audit
	// failing has what each step last ended in.
	failing map[reconcile.Step]error
}

func (r *recorder) Queued(time.Time) {}
func (r *recorder) RoundDone(round reconcile.Round) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rounds = append(r.rounds, round)
}
func (r *recorder) StepDone(step reconcile.Step, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failing == nil {
		r.failing = map[reconcile.Step]error{}
	}
	r.failing[step] = err
	if err != nil {
		r.steps = append(r.steps, err)
	}
}
func (r *recorder) Audited(audit reconcile.Audit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.audits = append(r.audits, audit)
}
func (r *recorder) Problems(string, []service.Problem) {}
func (r *recorder) NodeChanged(service.Node)           {}

func (r *recorder) last() reconcile.Round {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rounds) == 0 {
		return reconcile.Round{}
	}
	return r.rounds[len(r.rounds)-1]
}

// fixture is a reconciler on an in-memory kernel, inside a bubble of fake time.
type fixture struct {
	*testing.T
	kernel   *kerneltest.Fake
	observer *recorder
	source   service.Sink
}

var nodeAddress = netip.MustParseAddr("192.0.2.10")

func options() reconcile.Options {
	return reconcile.Options{
		Families:     []dataplane.Family{dataplane.IPv4, dataplane.IPv6},
		Service:      service.Options{Scheduler: "rr"},
		NodeName:     "node-1",
		Audits:       reconcile.Audits{Period: 30 * time.Second},
		DrainTimeout: 15 * time.Minute,
		Ours:         func(key dataplane.VirtualServerKey) bool { return key.Mark < 0x8000 },
		Clock:        clock.RealClock{},
	}
}

// start runs a reconciler with one source, "api", on the given kernel until the test ends.
func start(t *testing.T, fake *kerneltest.Fake, wrap func(kernel.Kernel) kernel.Kernel) *fixture {
	t.Helper()
	var k kernel.Kernel = fake
	if wrap != nil {
		k = wrap(fake)
	}
	return startWith(t, fake, k, options())
}

func startWith(t *testing.T, fake *kerneltest.Fake, k kernel.Kernel, o reconcile.Options) *fixture {
	t.Helper()
	f := &fixture{T: t, kernel: fake, observer: &recorder{}}
	r := reconcile.New(k, o, f.observer)
	f.source = r.Source("api", "services", "slices")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

func newFake(t *testing.T) *kerneltest.Fake {
	t.Helper()
	fake := kerneltest.NewFake()
	if err := fake.AddNodeAddress(dataplane.NodeAddress{Addr: nodeAddress, Interface: "eth0"}); err != nil {
		t.Fatal(err)
	}
	return fake
}

func (f *fixture) complete() {
	f.source.Complete("services")
	f.source.Complete("slices")
	f.settle(0)
}

// settle lets time pass and everything that is due happen.
func (f *fixture) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func web(name, vip string, nodePort uint16) service.Service {
	return service.Service{
		Name:     service.Name{Namespace: "default", Name: name},
		Families: []dataplane.Family{dataplane.IPv4},
		VIPs:     service.VIPs{Cluster: []netip.Addr{netip.MustParseAddr(vip)}},
		Ports:    []service.Port{{Name: "http", Protocol: dataplane.TCP, Port: 80, NodePort: nodePort}},
	}
}

func slice(name string, endpoints ...string) service.Slice {
	s := service.Slice{Name: service.Name{Namespace: "default", Name: name + "-1"}, Service: name,
		Ports: []service.SlicePort{{Name: "http", Protocol: dataplane.TCP, Port: 8080}}}
	for _, addr := range endpoints {
		s.Endpoints = append(s.Endpoints, service.Endpoint{Addr: netip.MustParseAddr(addr), Node: "node-2", Ready: true, Serving: true})
	}
	return s
}

// reals returns the weights of the real servers of 10.96.0.1:80 by address.
func (f *fixture) reals(key dataplane.VirtualServerKey) map[string]uint32 {
	weights := map[string]uint32{}
	for _, pool := range f.kernel.Objects().Pools {
		if pool.Key == key {
			for _, real := range pool.RealServers {
				weights[real.Addr.Addr().String()] = real.Weight
			}
		}
	}
	return weights
}

var webKey = dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.0.1"), 80)

func (f *fixture) expectReals(key dataplane.VirtualServerKey, want map[string]uint32) {
	f.Helper()
	got := f.reals(key)
	if len(got) != len(want) {
		f.Fatalf("real servers of %s: %v, want %v", key, got, want)
	}
	for addr, weight := range want {
		if w, ok := got[addr]; !ok || w != weight {
			f.Fatalf("real servers of %s: %v, want %v", key, got, want)
		}
	}
}

func (f *fixture) bound(addr string) bool {
	for _, a := range f.kernel.Objects().Addresses {
		if a == netip.MustParseAddr(addr) {
			return true
		}
	}
	return false
}

// Invariant 3: nothing is programmed from, and nothing deleted because of, a source that is not complete.
func TestNothingIsDeletedBeforeEverySourceIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		seeded := start(t, fake, nil)
		seeded.source.SetService(web("web", "10.96.0.1", 0))
		seeded.source.SetSlice(slice("web", "10.1.0.1"))
		seeded.complete()
		before := fake.Dump()

		fake.ResetRecord()
		f := start(t, fake, nil) // a restart: the kernel is all that remains
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.Complete("services")
		f.settle(time.Minute)
		if fake.Dump() != before || len(fake.Log()) > 0 {
			t.Fatalf("before the slices are complete, the kernel was changed: %v", fake.Log())
		}
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.source.Complete("slices")
		f.settle(time.Minute)
		if fake.Dump() != before || len(fake.Log()) > 0 {
			t.Fatalf("a restart on a correct kernel wrote: %v", fake.Log())
		}
	})
}

// P01, invariants 1 and 7: a change to one Service costs its own operations, no snapshot, no foundation.
func TestP01ChangeCostsOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		for i := range 200 {
			name := "web" + string(rune('a'+i%26)) + string(rune('a'+i/26))
			f.source.SetService(web(name, netip.AddrFrom4([4]byte{10, 96, 0, byte(i + 1)}).String(), 0))
			f.source.SetSlice(slice(name, "10.1.0.1"))
		}
		f.complete()
		f.kernel.ResetRecord()
		f.source.SetSlice(slice("webaa", "10.1.0.1", "10.1.0.2"))
		f.settle(0)
		if log := f.kernel.Log(); len(log) != 1 || log[0] != "ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1" {
			t.Errorf("one more endpoint cost %q", log)
		}
		if c := f.kernel.Counts(); c.Snapshots != 0 || c.Foundations != 0 || f.observer.last().Services != 1 {
			t.Errorf("one more endpoint cost %+v and %d translations", c, f.observer.last().Services)
		}
	})
}

// P03: a bound address or the device deleted by hand comes back at once, everything else with the next audit.
func TestP03DriftComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		want := f.kernel.Dump()
		must(t, f.kernel.DropAddress(netip.MustParseAddr("10.96.0.1")))
		f.settle(0)
		if f.kernel.Dump() != want {
			t.Fatalf("the address did not come back at once:\n%s", f.kernel.Dump())
		}
		must(t, f.kernel.DropDevice())
		f.settle(0)
		if f.kernel.Dump() != want {
			t.Fatalf("the device did not come back at once:\n%s", f.kernel.Dump())
		}
		must(t, f.kernel.ByHand(dataplane.Operation{Verb: dataplane.Delete, Object: dataplane.VirtualServer{Key: webKey}}))
		f.kernel.DropRules(dataplane.IPv4)
		f.settle(31 * time.Second)
		if f.kernel.Dump() != want {
			t.Fatalf("the virtual server did not come back with the audit:\n%s", f.kernel.Dump())
		}
		if rules, ok := f.kernel.Ruleset(dataplane.IPv4); !ok || len(rules.Chains) == 0 {
			t.Fatal("the rules did not come back with the audit")
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// P06: when the node's addresses cannot be read, NodePorts stay on those known.
func TestP06FailedAddressReadKeepsNodePorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faulty *kerneltest.Faulty
		f := start(t, newFake(t), func(k kernel.Kernel) kernel.Kernel {
			faulty = kerneltest.NewFaulty(k, 1, kerneltest.Faults{})
			return faulty
		})
		f.source.SetService(web("web", "10.96.0.1", 30007))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		key := dataplane.KeyOf(dataplane.TCP, nodeAddress, 30007)
		f.expectReals(key, map[string]uint32{"10.1.0.1": 1})
		faulty.SetFaults(kerneltest.Faults{NodeAddresses: 1, Snapshot: 1})
		other := dataplane.NodeAddress{Addr: netip.MustParseAddr("192.0.2.11"), Interface: "eth0"}
		must(t, f.kernel.AddNodeAddress(other))
		f.settle(2 * time.Minute)
		f.expectReals(key, map[string]uint32{"10.1.0.1": 1})
		faulty.SetFaults(kerneltest.Faults{})
		f.settle(2 * time.Minute)
		f.expectReals(dataplane.KeyOf(dataplane.TCP, other.Addr, 30007), map[string]uint32{"10.1.0.1": 1})
	})
}

// P04: an operation that fails is tried again on its own, soon, and holds up nothing else.
func TestP04FailedOperationIsRetriedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bad = "ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 1"
		var faulty *kerneltest.Faulty
		f := start(t, newFake(t), func(k kernel.Kernel) kernel.Kernel {
			faulty = kerneltest.NewFaulty(k, 1, kerneltest.Faults{Decide: func(op dataplane.Operation) kerneltest.Fault {
				if op.String() == bad {
					return kerneltest.Fault{Err: errors.New("no memory")}
				}
				return kerneltest.Fault{}
			}})
			return faulty
		})
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1", "10.1.0.2"))
		f.source.SetService(web("other", "10.96.0.2", 0))
		f.source.SetSlice(slice("other", "10.1.0.1"))
		f.complete()
		f.expectReals(webKey, map[string]uint32{"10.1.0.2": 1})
		f.expectReals(dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.0.2"), 80), map[string]uint32{"10.1.0.1": 1})
		if !f.bound("10.96.0.1") || f.observer.last().Waiting != 1 {
			t.Fatalf("bound %v, waiting %d; want the address bound and one object waiting", f.bound("10.96.0.1"), f.observer.last().Waiting)
		}
		faulty.SetFaults(kerneltest.Faults{})
		f.settle(10 * time.Second)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1, "10.1.0.2": 1})
		if waiting := f.observer.last().Waiting; waiting != 0 {
			t.Fatalf("%d objects still wait", waiting)
		}
	})
}

// B31: a removed endpoint drains: its connections live on, and it goes when the last one ends.
func TestDrainingEndsWithTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1", "10.1.0.2"))
		f.complete()
		gone := netip.MustParseAddrPort("10.1.0.2:8080")
		must(t, f.kernel.SetConnections(webKey, gone, 3))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.settle(10 * time.Minute)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1, "10.1.0.2": 0})
		must(t, f.kernel.SetConnections(webKey, gone, 0))
		f.settle(2 * time.Second)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1})
	})
}

// P08: connections that never end do not keep a server for ever.
func TestP08DrainDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1", "10.1.0.2"))
		f.complete()
		must(t, f.kernel.SetConnections(webKey, netip.MustParseAddrPort("10.1.0.2:8080"), 1))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.settle(14 * time.Minute)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1, "10.1.0.2": 0})
		f.settle(2 * time.Minute)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1})
	})
}

// P24, B02: a VIP stays bound while any of its ports is left.
func TestServiceDeletedLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		f.complete()
		empty := f.kernel.Dump()
		f.source.SetService(web("web", "10.96.0.1", 30007))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.settle(time.Second)
		if !f.bound("10.96.0.1") {
			t.Fatal("the Service was not programmed")
		}
		f.source.DeleteService(service.Name{Namespace: "default", Name: "web"})
		f.settle(time.Second)
		if got := f.kernel.Dump(); got != empty {
			t.Fatalf("left behind:\n%s", got)
		}
	})
}

// With detectLocalMode NodeCIDR, the rules follow the podCIDRs of the Node object.
func TestNodeCIDRsReachTheRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, o := newFake(t), options()
		o.Service.Masquerade.Local.NodeCIDRs = true
		f := startWith(t, fake, fake, o)
		f.complete()
		before, _ := fake.Ruleset(dataplane.IPv4)
		f.source.SetNode(service.Node{Name: "node-1", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.7.0/24")}})
		f.settle(0)
		after, _ := fake.Ruleset(dataplane.IPv4)
		if text := fmt.Sprint(after); !strings.Contains(text, "10.244.7.0/24") || strings.Contains(fmt.Sprint(before), "10.244.7.0/24") {
			t.Errorf("rules before and after the Node was known:\n%v\n%v", before, after)
		}
	})
}
