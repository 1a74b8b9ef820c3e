package reconcile_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/service"
)

// withoutConntrack is a kernel in which no stale flow can be deleted.
func withoutConntrack() kerneltest.Faults {
	return kerneltest.Faults{Decide: func(op dataplane.Operation) kerneltest.Fault {
		if _, flows := op.Object.(dataplane.Flows); flows {
			return kerneltest.Fault{Err: errors.New("no such subsystem")}
		}
		return kerneltest.Fault{}
	}}
}

func dns(endpoints ...string) (service.Service, service.Slice) {
	svc, s := web("web", "10.96.0.1", 0), slice("web", endpoints...)
	svc.Ports[0].Protocol, s.Ports[0].Protocol = dataplane.UDP, dataplane.UDP
	return svc, s
}

// startDNS runs a UDP Service on a kernel with faults.
func startDNS(t *testing.T, faults kerneltest.Faults) (*fixture, *kerneltest.Faulty) {
	var faulty *kerneltest.Faulty
	f := start(t, newFake(t), func(k kernel.Kernel) kernel.Kernel {
		faulty = kerneltest.NewFaulty(k, 1, faults)
		return faulty
	})
	svc, s := dns("10.1.0.1")
	f.source.SetService(svc)
	f.source.SetSlice(s)
	f.complete()
	return f, faulty
}

// servedFlows are the deleted flows but for those that began before anybody served, which lead to the virtual address.
func (f *fixture) servedFlows() []dataplane.Flows {
	return slices.DeleteFunc(f.kernel.DeletedFlows(), func(flows dataplane.Flows) bool {
		return flows.RealServer.Addr() == flows.VirtualServer.Addr
	})
}

func (f *fixture) setDNS(endpoints ...string) {
	_, s := dns(endpoints...)
	f.source.SetSlice(s)
	f.settle(0)
}

// P04, P09: flows that cannot be deleted are tried again with a backoff, each once however often its endpoint went.
func TestP09FlowsThatCannotBeDeletedWaitTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, faulty := startDNS(t, withoutConntrack())
		for i := range 100 {
			f.setDNS("10.1.0.1", "10.1.0.2")
			f.setDNS(fmt.Sprint("10.1.0.", i%2+1))
			f.settle(time.Second)
		}
		if waiting := f.observer.last().Waiting; waiting > 3 {
			t.Errorf("%d flows wait, of two endpoints and of nobody", waiting)
		}
		f.setDNS("10.1.0.3")
		before := faulty.Injected()
		f.settle(10 * time.Minute)
		if tries := faulty.Injected() - before; tries > 100 {
			t.Errorf("what fails was tried %d times in ten minutes; want a growing distance", tries)
		}
		faulty.SetFaults(kerneltest.Faults{})
		f.settle(2 * time.Minute)
		if n, waiting := len(f.servedFlows()), f.observer.last().Waiting; n != 2 || waiting != 0 {
			t.Errorf("once it works, %d flows were deleted and %d wait; want 2 and 0", n, waiting)
		}
	})
}

// P09: an endpoint that is back gets to keep its flows, though those of its earlier life could not be deleted in time.
func TestP09FlowsOfAnEndpointThatIsBackStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, faulty := startDNS(t, withoutConntrack())
		f.setDNS("10.1.0.2")
		f.setDNS("10.1.0.1", "10.1.0.2")
		faulty.SetFaults(kerneltest.Faults{})
		f.settle(10 * time.Minute)
		if flows := f.servedFlows(); len(flows) != 0 {
			t.Errorf("deleted %v of an endpoint that serves", flows)
		}
		if waiting := f.observer.last().Waiting; waiting != 0 {
			t.Errorf("%d objects still wait", waiting)
		}
		f.expectReals(dataplane.KeyOf(dataplane.UDP, netip.MustParseAddr("10.96.0.1"), 80), map[string]uint32{"10.1.0.1": 1, "10.1.0.2": 1})
	})
}
