package reconcile_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// P02: the least time between rounds does not delay the start, when nothing has been programmed yet; afterwards it makes
// changes share rounds, and delays none for longer.
func TestP02MinPeriodDoesNotDelayTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, o := newFake(t), options()
		o.MinPeriod = 20 * time.Second
		f := startWith(t, fake, fake, o)
		f.settle(time.Second)
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1})
		fake.ResetRecord()
		for _, endpoint := range []string{"10.1.0.2", "10.1.0.3", "10.1.0.4"} {
			f.source.SetSlice(slice("web", "10.1.0.1", endpoint))
			f.settle(5 * time.Second)
		}
		if log := fake.Log(); len(log) > 0 {
			t.Errorf("a round came too early: %v", log)
		}
		f.settle(6 * time.Second)
		f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1, "10.1.0.4": 1})
	})
}
