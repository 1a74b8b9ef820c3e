package reconcile_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// oneMark runs a reconciler that has the mark 0x100 alone to give, and one source, which is complete.
func oneMark(t *testing.T) *fixture {
	o := options()
	o.Service.Marks = service.MarkRange{First: 0x100, Last: 0x100}
	o.Ours = func(dataplane.VirtualServerKey) bool { return true }
	fake := newFake(t)
	f := startWith(t, fake, fake, o)
	f.complete()
	return f
}

// local is a Service with externalTrafficPolicy Local, an external IP and one endpoint.
func (f *fixture) local(number byte, age time.Duration) service.Service {
	s := web(string('a'+rune(number)), netip.AddrFrom4([4]byte{10, 96, 0, number}).String(), 30080+uint16(number))
	s.Policy.ExternalLocal = true
	s.Created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(-age)
	s.VIPs.External = []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, number})}
	f.source.SetService(s)
	f.source.SetSlice(slice(s.Name.Name, netip.AddrFrom4([4]byte{10, 1, 0, number}).String()))
	return s
}

var markKey = dataplane.MarkKeyOf(dataplane.IPv4, 0x100)

// A Service that found no mark gets one when another Service gives its own up: the oldest does, without a change of its
// own, and nobody else is translated for it.
func TestStarvedServiceGetsTheNextMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := oneMark(t)
		first := f.local(1, 0)
		f.settle(0)
		f.expectReals(markKey, map[string]uint32{"10.1.0.1": 1})
		f.local(2, time.Hour)
		f.local(3, 2*time.Hour)
		for number := byte(4); number < 20; number++ {
			f.source.SetService(web(string('a'+rune(number)), netip.AddrFrom4([4]byte{10, 96, 0, number}).String(), 0))
		}
		f.settle(0)
		f.expectReals(markKey, map[string]uint32{"10.1.0.1": 1})
		rounds := len(f.rounds())
		f.source.DeleteService(first.Name)
		f.settle(0)
		f.expectReals(markKey, map[string]uint32{"10.1.0.3": 1})
		translated := 0
		for _, round := range f.rounds()[rounds:] {
			translated += round.Services
		}
		if translated != 2 {
			t.Errorf("%d Services were translated, want the one that went and the one that came", translated)
		}
	})
}

// While operations fail, the mark is still in the kernel, and nobody gets it.
func TestStarvedServiceWaitsForTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := oneMark(t)
		first := f.local(1, 0)
		f.settle(0)
		f.local(2, 0)
		f.settle(0)
		first.Policy.ExternalLocal = false // which lets the virtual server of the mark drain
		must(t, f.kernel.SetConnections(markKey, netip.MustParseAddrPort("10.1.0.1:8080"), 1))
		f.source.SetService(first)
		f.settle(5 * time.Second)
		f.expectReals(markKey, map[string]uint32{"10.1.0.1": 0})
		must(t, f.kernel.SetConnections(markKey, netip.MustParseAddrPort("10.1.0.1:8080"), 0))
		f.settle(5 * time.Second)
		f.expectReals(markKey, map[string]uint32{"10.1.0.2": 1})
	})
}

// The audit notices a virtual server that somebody else has with one of the marks: nobody gets the mark before it is gone.
func TestForeignMarkIsNoticedByTheAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := oneMark(t)
		theirs := dataplane.VirtualServer{Key: markKey, Scheduler: "rr", MaskBits: 32}
		direct := dataplane.RealServer{Addr: netip.MustParseAddrPort("10.9.9.9:0"), Weight: 1, Forwarding: dataplane.DirectRoute}
		for _, object := range []dataplane.Object{theirs, dataplane.Member{VirtualServer: markKey, RealServer: direct}} {
			must(t, f.kernel.ByHand(dataplane.Operation{Verb: dataplane.Add, Object: object}))
		}
		f.settle(time.Minute)
		f.local(1, 0)
		f.settle(time.Minute)
		f.expectReals(markKey, map[string]uint32{"10.9.9.9": 1})
		must(t, f.kernel.ByHand(dataplane.Operation{Verb: dataplane.Delete, Object: theirs}))
		f.settle(time.Minute)
		f.expectReals(markKey, map[string]uint32{"10.1.0.1": 1})
	})
}

// A port with another number keeps its mark, so that connections by way of its NodePort go on.
func TestRenumberedPortKeepsItsMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		f.complete()
		svc := f.local(1, 0)
		f.settle(0)
		rounds := len(f.rounds())
		svc.Ports = []service.Port{svc.Ports[0]}
		svc.Ports[0].Port = 81
		f.source.SetService(svc)
		f.settle(0)
		for _, round := range f.rounds()[rounds:] {
			for _, op := range round.Operations {
				if strings.Contains(op.String(), " -f ") {
					t.Errorf("a virtual server of the mark is touched: %s", op)
				}
			}
		}
	})
}

func (f *fixture) rounds() []reconcile.Round {
	f.observer.mu.Lock()
	defer f.observer.mu.Unlock()
	return f.observer.rounds
}
