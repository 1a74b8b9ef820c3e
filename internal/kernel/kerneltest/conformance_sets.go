package kerneltest

import (
	"context"
	"errors"
	"net/netip"

	"kube-ipvs-proxy/internal/dataplane"
)

func (s *suite) addresses() {
	s.found(testFoundation())
	s.run(
		step{dataplane.Add, address("10.96.0.10"), nil},
		step{dataplane.Add, address("10.96.0.10"), nil},
		step{dataplane.Add, address("fd00::10"), nil},
		step{dataplane.Add, address("10.96.0.11"), nil},
		step{dataplane.Delete, address("10.96.0.11"), nil},
		step{dataplane.Delete, address("10.96.0.11"), nil},
		step{dataplane.Delete, address("fd00::11"), nil},
		step{dataplane.Edit, address("10.96.0.10"), dataplane.ErrInvalid},
		step{dataplane.Add, address("0.0.0.0"), dataplane.ErrInvalid},
		step{dataplane.Add, address("224.0.0.1"), dataplane.ErrInvalid},
		step{dataplane.Add, address("255.255.255.255"), dataplane.ErrInvalid},
		step{dataplane.Add, address("127.0.0.1"), dataplane.ErrInvalid},
		step{dataplane.Add, address("::1"), dataplane.ErrInvalid},
		step{dataplane.Add, address("ff02::1"), dataplane.ErrInvalid},
		step{dataplane.Add, address("fe80::1"), dataplane.ErrInvalid},
		step{dataplane.Add, address("::ffff:10.0.0.1"), dataplane.ErrInvalid},
		step{dataplane.Add, dataplane.Address{}, dataplane.ErrInvalid},
	)
	s.dump("10.96.0.10/32 dev kube-ipvs0\nfd00::10/128 dev kube-ipvs0\n")
	if err := s.world.DropDevice(); err != nil {
		s.Fatal(err)
	}
	s.run(
		step{dataplane.Add, address("10.96.0.12"), dataplane.ErrNotExist},
		step{dataplane.Delete, address("10.96.0.10"), nil},
	)
}

func (s *suite) entries() {
	s.found(testFoundation())
	vip, peer, six := netip.MustParseAddr("10.96.0.10"), netip.MustParsePrefix("10.1.0.1/32"), netip.MustParseAddr("fd00::10")
	marked := dataplane.Entry{Set: setMarks, Addr: vip, Protocol: dataplane.TCP, Port: 80, Mark: 0x11}
	remarked := marked
	remarked.Mark = 0x12
	all := []dataplane.Entry{
		{Set: setIP, Addr: vip},
		{Set: setPort, Addr: vip, Protocol: dataplane.SCTP, Port: 65535},
		{Set: setPortIP, Addr: vip, Protocol: dataplane.TCP, Port: 80, Peer: peer},
		{Set: setNet, Addr: vip, Protocol: dataplane.UDP, Port: 53, Peer: netip.MustParsePrefix("10.0.0.0/8")},
		{Set: setNet, Addr: vip, Protocol: dataplane.UDP, Port: 53, Peer: peer},
		{Set: setNet, Addr: vip, Protocol: dataplane.UDP, Port: 53, Peer: netip.MustParsePrefix("128.0.0.0/1")},
		{Set: setBitmap, Port: 30080},
		{Set: setSix, Addr: six, Protocol: dataplane.TCP, Port: 80},
		marked,
	}
	for range 2 { // the second time nothing is new
		for _, entry := range all {
			s.run(step{dataplane.Add, entry, nil})
		}
	}
	s.run(step{dataplane.Add, remarked, nil})
	s.dump(`add KUBE-TEST-6-PORT fd00::10,tcp:80
add KUBE-TEST-BITMAP 30080
add KUBE-TEST-IP 10.96.0.10
add KUBE-TEST-IP-PORT 10.96.0.10,sctp:65535
add KUBE-TEST-IP-PORT-IP 10.96.0.10,tcp:80,10.1.0.1
add KUBE-TEST-IP-PORT-NET 10.96.0.10,udp:53,10.0.0.0/8
add KUBE-TEST-IP-PORT-NET 10.96.0.10,udp:53,10.1.0.1
add KUBE-TEST-IP-PORT-NET 10.96.0.10,udp:53,128.0.0.0/1
add KUBE-TEST-MARKS 10.96.0.10,tcp:80 skbmark 0x12
`)
	for range 2 {
		for _, entry := range all {
			s.run(step{dataplane.Delete, entry, nil})
		}
	}
	s.dump("")
}

func (s *suite) badEntries() {
	s.found(testFoundation())
	vip, six := netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00::10")
	peer, net := netip.MustParsePrefix("10.1.0.1/32"), netip.MustParsePrefix("10.1.0.0/16")
	bad := []dataplane.Entry{
		{Set: setIP},
		{Set: setIP, Addr: six},
		{Set: setIP, Addr: netip.IPv4Unspecified()},
		{Set: setIP, Addr: vip, Protocol: dataplane.TCP, Port: 80},
		{Set: setPort, Addr: vip},
		{Set: setPort, Addr: six, Protocol: dataplane.TCP, Port: 80},
		{Set: setPort, Addr: vip, Protocol: dataplane.TCP, Port: 80, Peer: peer},
		{Set: setPort, Addr: vip, Protocol: dataplane.TCP, Port: 80, Mark: 1},
		{Set: setPortIP, Addr: vip, Protocol: dataplane.TCP, Port: 80},
		{Set: setPortIP, Addr: vip, Protocol: dataplane.TCP, Port: 80, Peer: net},
		{Set: setNet, Addr: vip, Protocol: dataplane.TCP, Port: 80},
		{Set: setNet, Addr: vip, Protocol: dataplane.TCP, Port: 80, Peer: netip.MustParsePrefix("0.0.0.0/0")},
		{Set: setNet, Addr: vip, Protocol: dataplane.TCP, Port: 80, Peer: netip.MustParsePrefix("fd00::/64")},
		{Set: setBitmap, Addr: vip, Port: 80},
		{Set: setSix, Addr: vip, Protocol: dataplane.TCP, Port: 80},
	}
	var steps []step
	for _, entry := range bad {
		steps = append(steps, step{dataplane.Add, entry, dataplane.ErrInvalid})
	}
	steps = append(steps,
		step{dataplane.Edit, dataplane.Entry{Set: setIP, Addr: vip}, dataplane.ErrInvalid},
		step{dataplane.Add, dataplane.Entry{Set: "KUBE-TEST-ABSENT", Addr: vip}, dataplane.ErrNotExist},
		step{dataplane.Delete, dataplane.Entry{Set: "KUBE-TEST-ABSENT", Addr: vip}, nil},
		step{dataplane.Add, dataplane.Entry{Set: setIP, Addr: vip}, nil},
	)
	s.run(steps...)
	s.dump("add KUBE-TEST-IP 10.96.0.10\n")
}

func (s *suite) unknownOperations() {
	s.found(testFoundation())
	s.run(
		step{dataplane.Add, nil, dataplane.ErrInvalid},
		step{0, address("10.96.0.10"), dataplane.ErrInvalid},
		step{99, serverAt(dataplane.TCP, "10.96.0.10:80"), dataplane.ErrInvalid},
		step{0, memberOf(serverAt(dataplane.TCP, "10.96.0.10:80"), "10.1.0.1:80", 1), dataplane.ErrInvalid},
		step{99, dataplane.Entry{Set: setIP, Addr: netip.MustParseAddr("10.96.0.10")}, dataplane.ErrInvalid},
		step{dataplane.Add, address("10.96.0.11"), nil},
	)
	s.dump("10.96.0.11/32 dev kube-ipvs0\n")
}

func (s *suite) endedContext() {
	s.found(testFoundation())
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	ops := []dataplane.Operation{
		{Verb: dataplane.Add, Object: serverAt(dataplane.TCP, "10.96.0.10:80")},
		{Verb: dataplane.Add, Object: address("10.96.0.10")},
		{Verb: dataplane.Add, Object: dataplane.Entry{Set: setIP, Addr: netip.MustParseAddr("10.96.0.10")}},
	}
	for i, err := range s.kernel.Apply(ended, ops) {
		if !errors.Is(err, context.Canceled) {
			s.Errorf("%s after the context ended: %v", ops[i], err)
		}
	}
	if snapshot, err := s.kernel.Snapshot(ended); !errors.Is(err, context.Canceled) || snapshot != nil {
		s.Errorf("snapshot after the context ended: %v, %v", snapshot, err)
	}
	s.dump("")
}
