package kerneltest

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// await reads events until the wanted one comes; others may come in between, as the interface allows.
func (s *suite) await(events <-chan dataplane.Event, want dataplane.Event) {
	s.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for {
		select {
		case got, open := <-events:
			if !open {
				s.Fatalf("the channel was closed before %+v came", want)
			}
			if got == want {
				return
			}
		case <-deadline.C:
			s.Fatalf("no event %+v came", want)
		}
	}
}

func (s *suite) subscribe() <-chan dataplane.Event {
	s.Helper()
	events, err := s.kernel.Subscribe(s.ctx)
	if err != nil {
		s.Fatalf("subscribe: %v", err)
	}
	return events
}

func (s *suite) addressEvents() {
	s.found(testFoundation())
	events := s.subscribe()
	for _, vip := range []string{"10.96.0.10", "fd00::10"} {
		addr := netip.MustParseAddr(vip)
		s.run(step{dataplane.Add, address(vip), nil})
		s.await(events, dataplane.Event{Kind: dataplane.BoundAddressAdded, Addr: addr})
		if err := s.world.ByHand(dataplane.Operation{Verb: dataplane.Delete, Object: address(vip)}); err != nil {
			s.Fatal(err)
		}
		s.await(events, dataplane.Event{Kind: dataplane.BoundAddressRemoved, Addr: addr})
		if err := s.world.ByHand(dataplane.Operation{Verb: dataplane.Add, Object: address(vip)}); err != nil {
			s.Fatal(err)
		}
		s.await(events, dataplane.Event{Kind: dataplane.BoundAddressAdded, Addr: addr})
		s.run(step{dataplane.Delete, address(vip), nil})
		s.await(events, dataplane.Event{Kind: dataplane.BoundAddressRemoved, Addr: addr})
	}
}

func (s *suite) deviceEvents() {
	s.found(testFoundation())
	s.run(step{dataplane.Add, address("10.96.0.10"), nil})
	events := s.subscribe()
	for range 2 { // the second time for a device with another index
		if err := s.world.DropDevice(); err != nil {
			s.Fatal(err)
		}
		s.await(events, dataplane.Event{Kind: dataplane.DeviceRemoved})
		s.found(testFoundation())
		s.run(step{dataplane.Add, address("10.96.0.10"), nil})
		s.await(events, dataplane.Event{Kind: dataplane.BoundAddressAdded, Addr: netip.MustParseAddr("10.96.0.10")})
	}
}

func (s *suite) nodeAddresses() {
	s.found(testFoundation())
	s.run(step{dataplane.Add, address("10.96.0.10"), nil})
	events := s.subscribe()
	node := []dataplane.NodeAddress{
		{Addr: netip.MustParseAddr("192.0.2.1"), Interface: "test0"},
		{Addr: netip.MustParseAddr("2001:db8::1"), Interface: "test0"},
	}
	for i, addr := range node {
		if err := s.world.AddNodeAddress(addr); err != nil {
			s.Fatal(err)
		}
		s.await(events, dataplane.Event{Kind: dataplane.NodeAddressesChanged})
		s.expectNode(node[:i+1])
	}
	if err := s.world.DropNodeAddress(node[0]); err != nil {
		s.Fatal(err)
	}
	s.await(events, dataplane.Event{Kind: dataplane.NodeAddressesChanged})
	s.expectNode(node[1:])
}

func (s *suite) expectNode(want []dataplane.NodeAddress) {
	s.Helper()
	got, err := s.kernel.NodeAddresses(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	slices.SortFunc(got, compareNodeAddresses)
	if !slices.Equal(got, want) {
		s.Errorf("node addresses %v, want %v", got, want)
	}
}

func (s *suite) subscriptionCloses() {
	s.found(testFoundation())
	ctx, cancel := context.WithCancel(s.ctx)
	events, err := s.kernel.Subscribe(ctx)
	if err != nil {
		s.Fatal(err)
	}
	cancel()
	for {
		select {
		case _, open := <-events:
			if !open {
				return
			}
		case <-time.After(10 * time.Second):
			s.Fatal("the channel stays open though the context ended")
		}
	}
}
