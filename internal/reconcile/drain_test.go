package reconcile_test

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
)

// slow is a kernel that takes its time to count connections.
type slow struct {
	kernel.Kernel
	takes  time.Duration
	counts atomic.Int64
}

func (s *slow) Connections(ctx context.Context, keys []dataplane.VirtualServerKey) (map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error) {
	s.counts.Add(1)
	time.Sleep(s.takes)
	return s.Kernel.Connections(ctx, keys)
}

// drainOne has one of two real servers drain, with one connection that does not end.
func drainOne(f *fixture) {
	f.Helper()
	f.source.SetService(web("web", "10.96.0.1", 0))
	f.source.SetSlice(slice("web", "10.1.0.1", "10.1.0.2"))
	f.complete()
	must(f.T, f.kernel.SetConnections(webKey, netip.MustParseAddrPort("10.1.0.2:8080"), 1))
	f.source.SetSlice(slice("web", "10.1.0.1"))
	f.settle(0)
}

// P01: when thousands of virtual servers drain at once (a zone is gone), counting takes long, and is done less often: the
// larger part of the time is left for changes.
func TestP01CountingDrainsLeavesTimeForChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		s := &slow{Kernel: fake, takes: 2 * time.Second}
		f := startWith(t, fake, s, options())
		drainOne(f)
		before := s.counts.Load()
		f.settle(5 * time.Minute)
		if busy := time.Duration(s.counts.Load()-before) * s.takes; busy > time.Minute {
			t.Errorf("of five minutes, %v went into counting connections", busy)
		}
	})
}

// P08: without a drain timeout, a server that no slice lists goes at once, as --drain-timeout promises.
func TestP08NoDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, o := newFake(t), options()
		o.DrainTimeout = 0
		f := startWith(t, fake, fake, o)
		drainOne(f)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1})
	})
}

// P08: the deadline holds even while connections cannot be counted.
func TestP08DeadlineHoldsWithoutCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), func(k kernel.Kernel) kernel.Kernel {
			return kerneltest.NewFaulty(k, 1, kerneltest.Faults{Connections: 1})
		})
		drainOne(f)
		f.settle(14 * time.Minute)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1, "10.1.0.2": 0})
		f.settle(3 * time.Minute)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1})
	})
}
