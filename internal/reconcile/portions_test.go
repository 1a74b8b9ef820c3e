package reconcile_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/reconcile"
)

// many is more Services than go to the kernel at a time.
const many = 700

// setMany delivers Services, older and younger ones mixed, of which three share each external IP, and says that these are all.
func (f *fixture) setMany() {
	for i := range many {
		svc := web(fmt.Sprint("svc-", i), netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String(), 0)
		svc.Created = time.Unix(int64(i%50), 0)
		svc.VIPs.External = []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(i / 3)})}
		svc.Ports[0].Port = uint16(80 + i%3)
		f.source.SetService(svc)
		f.source.SetSlice(sliceOf(10, i))
	}
	f.complete()
}

// requireMany fails unless the kernel has exactly what setMany asks for.
func (f *fixture) requireMany() {
	f.Helper()
	objects, reals := f.kernel.Objects(), 0
	for _, pool := range objects.Pools {
		reals += len(pool.RealServers)
	}
	if len(objects.Pools) != 2*many || reals != 20*many || len(objects.Addresses) != many+(many+2)/3 {
		f.Errorf("%d virtual servers, %d real servers, %d addresses", len(objects.Pools), reals, len(objects.Addresses))
	}
}

// endOfStart returns the first round in which every source was complete.
func (f *fixture) endOfStart() reconcile.Round {
	f.Helper()
	f.observer.mu.Lock()
	defer f.observer.mu.Unlock()
	for _, round := range f.observer.rounds {
		if round.Complete {
			return round
		}
	}
	f.Fatal("the sources are not complete")
	return reconcile.Round{}
}

// journal is a kernel that remembers the batches that it was given.
type journal struct {
	kernel.Kernel
	batches [][]dataplane.Operation
}

func (j *journal) Apply(ctx context.Context, operations []dataplane.Operation) []error {
	j.batches = append(j.batches, operations)
	return j.Kernel.Apply(ctx, operations)
}

// startMany starts on a kernel, and returns what the kernel was asked for until all was quiet.
func startMany(t *testing.T, fake *kerneltest.Fake) (*fixture, *journal) {
	t.Helper()
	j := &journal{Kernel: fake}
	f := start(t, fake, func(kernel.Kernel) kernel.Kernel { return j })
	f.setMany()
	f.requireMany()
	return f, j
}

// Invariant 5: however the start of many Services is cut up, no virtual server comes before its entry, no real server
// before its virtual server, and no address before all of these.
func TestManyServicesComeInTheOrderOfTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := startMany(t, newFake(t))
		if len(j.batches) < 3 {
			t.Errorf("%d batches, want the first to begin while the rest is translated", len(j.batches))
		}
		entries, servers, bound := map[dataplane.VirtualServerKey]bool{}, map[dataplane.VirtualServerKey]bool{}, false
		for _, op := range f.endOfStart().Operations {
			inTime := op.Verb == dataplane.Add
			switch x := op.Object.(type) {
			case dataplane.Entry:
				entries[dataplane.KeyOf(x.Protocol, x.Addr, x.Port)] = true
			case dataplane.VirtualServer:
				inTime = inTime && entries[x.Key] && !servers[x.Key] && !bound
				servers[x.Key] = true
			case dataplane.Member:
				inTime = inTime && servers[x.VirtualServer] && !bound
			case dataplane.Address:
				bound = true
			}
			if !inTime {
				t.Errorf("%s comes too early, or twice", op)
			}
		}
		if !bound || len(servers) != 2*many {
			t.Errorf("the round has %d virtual servers, and addresses: %v", len(servers), bound)
		}
	})
}

// Invariant 2: what fails in any portion is tried again.
func TestManyServicesArriveInSpiteOfFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faulty *kerneltest.Faulty
		f := start(t, newFake(t), func(k kernel.Kernel) kernel.Kernel {
			faulty = kerneltest.NewFaulty(k, 1, kerneltest.Faults{Operations: 0.1, TakesEffect: 0.5})
			return faulty
		})
		f.setMany()
		round := f.endOfStart()
		if faulty.Injected() == 0 || len(round.Failures) == 0 || round.Waiting == 0 {
			t.Errorf("%d faults, %d failures told of, %d waiting", faulty.Injected(), len(round.Failures), round.Waiting)
		}
		faulty.SetFaults(kerneltest.Faults{})
		f.settle(5 * time.Minute)
		f.requireMany()
	})
}

// Invariant 4: a start on what another process has left takes away what nobody wants, and changes nothing else.
func TestManyServicesAreAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		startMany(t, fake)
		stale := dataplane.VirtualServer{Key: dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.99.0.1"), 80), Scheduler: "rr", MaskBits: 32}
		if err := fake.ByHand(dataplane.Operation{Verb: dataplane.Add, Object: stale}); err != nil {
			t.Fatal(err)
		}
		_, j := startMany(t, fake)
		if len(j.batches) != 1 || len(j.batches[0]) != 1 || j.batches[0][0].Verb != dataplane.Delete {
			t.Errorf("%d batches, want the deletion of the stale virtual server", len(j.batches))
		}
	})
}
