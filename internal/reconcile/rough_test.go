package reconcile_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// rough is a walk on which the node changes, too: its addresses, its Node object and its device come and go, the daemon
// is restarted, and there are two sources.
type rough struct {
	walk
	files map[string]service.Service // of the second source
	node  service.Node
	extra map[netip.Addr]bool // addresses of the node
}

// daemon is one run of a reconciler with two sources.
type daemon struct {
	*fixture
	second service.Sink
	stop   func()
}

func (w *rough) start(t *testing.T, fake *kerneltest.Fake, k *kerneltest.Faulty) *daemon {
	o := options()
	if w.lonely {
		o.Audits.Period = 24 * time.Hour // what the audit would put right has to be right without it
	}
	o.MinPeriod = time.Duration(w.random.IntN(3)) * time.Second
	d := &daemon{fixture: &fixture{T: t, kernel: fake, observer: &recorder{}}}
	r := reconcile.New(k, o, d.observer)
	d.source, d.second = r.Source("api", "services", "slices"), r.Source("manifests", "manifests")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	d.stop = func() { cancel(); <-done }
	w.deliver(d)
	return d
}

// deliver tells both sources everything, in some order.
func (w *rough) deliver(d *daemon) {
	for _, svc := range w.files {
		d.second.SetService(svc)
		d.second.SetSlice(slice(svc.Name.Name, "10.1.0.9"))
	}
	early := w.random.IntN(2) == 0
	if early {
		d.second.Complete("manifests")
		d.settle(0)
	}
	for _, s := range w.slices {
		d.source.SetSlice(s)
	}
	d.source.Complete("slices")
	d.source.SetNode(w.node)
	for _, svc := range w.services {
		d.source.SetService(svc)
	}
	d.source.Complete("services")
	d.settle(0)
	d.second.Complete("manifests")
}

func (w *rough) change(d *daemon) {
	name := fmt.Sprint("svc", w.random.IntN(5))
	addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + w.random.IntN(3))})
	kinds := 9
	if w.lonely {
		kinds = 7
	}
	switch w.random.IntN(kinds) {
	case 0:
		w.node.Zone = fmt.Sprint("zone", w.random.IntN(2))
		w.node.Addresses = []netip.Addr{nodeAddress, netip.AddrFrom4([4]byte{10, 96, 0, byte(w.random.IntN(6))})}
		d.source.SetNode(w.node)
	case 1:
		d.source.DeleteNode("node-1")
	case 2:
		if w.extra[addr] {
			delete(w.extra, addr)
			must(d.T, d.kernel.DropNodeAddress(dataplane.NodeAddress{Addr: addr, Interface: "eth0"}))
		} else {
			w.extra[addr] = true
			must(d.T, d.kernel.AddNodeAddress(dataplane.NodeAddress{Addr: addr, Interface: "eth0"}))
		}
	case 3:
		svc := w.service(name)
		svc.Created = time.Time{}
		w.files[name] = svc
		d.second.SetService(svc)
		d.second.SetSlice(slice(name, "10.1.0.9"))
	case 4:
		delete(w.files, name)
		d.second.DeleteService(service.Name{Namespace: "default", Name: name})
	case 7:
		_ = d.kernel.DropDevice() // or it is gone already
	case 8:
		d.kernel.Overrun()
	default:
		w.step(d.fixture)
	}
	if w.random.IntN(2) == 0 {
		d.settle(time.Duration(w.random.IntN(1500)) * time.Millisecond)
	}
}

// Whatever happens to objects, node and kernel, however often the daemon restarts on the way and whatever fails: the
// kernel ends up in the state that a new one reaches from the final objects alone. On every second walk, nobody else
// touches the kernel, and there is neither audit nor restart.
func TestRoughWalkConverges(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				faults := kerneltest.Faults{Operations: 0.1, TakesEffect: 0.5, Snapshot: 0.2, NodeAddresses: 0.2, Foundation: 0.2, Connections: 0.2}
				lonely := seed%2 == 0
				if lonely {
					faults.TakesEffect = 0 // only the audit finds what took effect after all
				}
				fake := newFake(t)
				faulty := kerneltest.NewFaulty(fake, seed, faults)
				w := &rough{walk{rand.New(rand.NewPCG(seed, 2)), map[string]service.Service{}, map[string]service.Slice{}, lonely},
					map[string]service.Service{}, service.Node{Name: "node-1"}, map[netip.Addr]bool{}}
				d := w.start(t, fake, faulty)
				for i := range 120 {
					if i%30 == 29 && !w.lonely {
						d.stop()
						d = w.start(t, fake, faulty)
					}
					w.change(d)
				}
				faulty.SetFaults(kerneltest.Faults{})
				d.settle(20 * time.Minute)
				d.stop()
				fresh := newFake(t)
				for addr := range w.extra {
					must(t, fresh.AddNodeAddress(dataplane.NodeAddress{Addr: addr, Interface: "eth0"}))
				}
				end := w.start(t, fresh, kerneltest.NewFaulty(fresh, 0, kerneltest.Faults{}))
				end.settle(20 * time.Minute)
				end.stop()
				if diff := cmp.Diff(unmarked(fresh.Dump()), unmarked(fake.Dump())); diff != "" {
					t.Errorf("after %d faults (-fresh kernel +this one):\n%s", faulty.Injected(), diff)
				}
			})
		})
	}
}
