package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
)

// deaf is a kernel that refuses the first subscriptions.
type deaf struct {
	kernel.Kernel
	refusals int
}

func (d *deaf) Subscribe(ctx context.Context) (<-chan dataplane.Event, error) {
	if d.refusals > 0 {
		d.refusals--
		return nil, errors.New("too many open files")
	}
	return d.Kernel.Subscribe(ctx)
}

// P03, P04: a subscription that fails is tried again, and what happened meanwhile is found without waiting for the audit.
func TestP03FailedSubscriptionIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Audits.Period = time.Hour
		fake := newFake(t)
		f := startWith(t, fake, &deaf{Kernel: fake, refusals: 3}, o)
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		must(t, fake.DropAddress(netip.MustParseAddr("10.96.0.1")))
		f.settle(10 * time.Second)
		if !f.bound("10.96.0.1") {
			t.Fatal("what was deleted while nobody listened did not come back")
		}
		must(t, fake.DropAddress(netip.MustParseAddr("10.96.0.1")))
		f.settle(0)
		if !f.bound("10.96.0.1") {
			t.Fatal("the subscription was not tried again")
		}
	})
}

// Many events at once are looked at together.
func TestEventsOfABurstShareARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		for i := range byte(200) {
			f.source.SetService(web(fmt.Sprint("web", i), netip.AddrFrom4([4]byte{10, 96, 1, i}).String(), 0))
			f.source.SetSlice(slice(fmt.Sprint("web", i), "10.1.0.1"))
		}
		f.complete()
		f.observer.mu.Lock()
		defer f.observer.mu.Unlock()
		if n := len(f.observer.rounds); n > 20 {
			t.Errorf("200 Services at once took %d rounds: the proxy's own addresses come back as events", n)
		}
	})
}
