package kerneltest

import (
	"math"
	"net/netip"

	"kube-ipvs-proxy/internal/dataplane"
)

func (s *suite) virtualServers() {
	s.found(testFoundation())
	web, six := serverAt(dataplane.TCP, "10.96.0.10:80"), serverAt(dataplane.UDP, "[fd00::10]:53")
	sctp := serverAt(dataplane.SCTP, "10.96.0.10:80")
	sticky := web
	sticky.Scheduler, sticky.Flags, sticky.Timeout = "sh", dataplane.FlagPersistent|dataplane.FlagFallback, 10800
	marked := dataplane.VirtualServer{Key: dataplane.MarkKeyOf(dataplane.IPv6, 17), Scheduler: "wlc", MaskBits: 128}
	onePacket := six
	onePacket.Flags, onePacket.Timeout, onePacket.MaskBits = dataplane.FlagOnePacket|dataplane.FlagPersistent, 60, 64
	s.run(
		step{dataplane.Edit, web, dataplane.ErrNotExist},
		step{dataplane.Add, web, nil},
		step{dataplane.Add, web, nil},
		step{dataplane.Add, six, nil},
		step{dataplane.Add, sctp, nil},
		step{dataplane.Add, marked, nil},
		step{dataplane.Delete, sctp, nil},
		step{dataplane.Delete, sctp, nil},
	)
	s.dump("-A -t 10.96.0.10:80 -s rr\n-A -f 17 -6 -s wlc\n-A -u [fd00::10]:53 -s rr\n")
	s.run(
		step{dataplane.Add, sticky, nil}, // Add corrects what is there
		step{dataplane.Edit, onePacket, nil},
		step{dataplane.Delete, marked, nil},
	)
	s.dump("-A -t 10.96.0.10:80 -s sh -p 10800 -b sh-fallback\n-A -u [fd00::10]:53 -s rr -p 60 -M 64 -o\n")
	s.run(step{dataplane.Edit, web, nil}, step{dataplane.Edit, six, nil})
	s.dump("-A -t 10.96.0.10:80 -s rr\n-A -u [fd00::10]:53 -s rr\n")
}

func (s *suite) badVirtualServers() {
	s.found(testFoundation())
	web, six := serverAt(dataplane.TCP, "10.96.0.10:80"), serverAt(dataplane.TCP, "[fd00::10]:80")
	unknown, wide, narrow := web, six, six
	unknown.Scheduler, wide.MaskBits, narrow.MaskBits = "nosuch", 0, 129
	s.run(
		step{dataplane.Add, unknown, dataplane.ErrNoScheduler},
		step{dataplane.Add, wide, dataplane.ErrInvalid},
		step{dataplane.Add, narrow, dataplane.ErrInvalid},
		step{dataplane.Add, web, nil}, // the others' failures are theirs
		step{dataplane.Edit, unknown, dataplane.ErrNoScheduler},
	)
	s.dump("-A -t 10.96.0.10:80 -s rr\n")
}

func (s *suite) realServers() {
	s.found(testFoundation())
	web, six := serverAt(dataplane.TCP, "10.96.0.10:80"), serverAt(dataplane.TCP, "[fd00::10]:80")
	one, two := memberOf(web, "10.1.0.1:8080", 1), memberOf(web, "10.1.0.2:8080", 1)
	s.run(
		step{dataplane.Add, one, dataplane.ErrNotExist},
		step{dataplane.Edit, one, dataplane.ErrNotExist},
		step{dataplane.Delete, one, nil},
		step{dataplane.Add, web, nil},
		step{dataplane.Edit, one, dataplane.ErrNotExist},
		step{dataplane.Add, one, nil},
		step{dataplane.Add, two, nil},
		step{dataplane.Add, six, nil},
		step{dataplane.Add, memberOf(six, "[fd00:1::1]:8080", 1), nil},
	)
	two.Weight = 0
	drained := one
	drained.Weight = 0
	s.run(
		step{dataplane.Add, two, nil}, // Add corrects the weight
		step{dataplane.Edit, drained, nil},
		step{dataplane.Edit, one, nil},
	)
	s.dump(`-A -t 10.96.0.10:80 -s rr
-a -t 10.96.0.10:80 -r 10.1.0.1:8080 -m -w 1
-a -t 10.96.0.10:80 -r 10.1.0.2:8080 -m -w 0
-A -t [fd00::10]:80 -s rr
-a -t [fd00::10]:80 -r [fd00:1::1]:8080 -m -w 1
`)
	s.run(
		step{dataplane.Delete, two, nil},
		step{dataplane.Delete, two, nil},
		step{dataplane.Delete, six, nil}, // takes its real server along
		step{dataplane.Add, six, nil},
	)
	s.dump("-A -t 10.96.0.10:80 -s rr\n-a -t 10.96.0.10:80 -r 10.1.0.1:8080 -m -w 1\n-A -t [fd00::10]:80 -s rr\n")
}

func (s *suite) badRealServers() {
	s.found(testFoundation())
	web, six := serverAt(dataplane.TCP, "10.96.0.10:80"), serverAt(dataplane.TCP, "[fd00::10]:80")
	s.run(
		step{dataplane.Add, web, nil},
		step{dataplane.Add, six, nil},
		step{dataplane.Add, memberOf(web, "224.0.0.1:80", 1), dataplane.ErrInvalid},
		step{dataplane.Add, memberOf(web, "0.0.0.0:80", 1), dataplane.ErrInvalid},
		step{dataplane.Add, memberOf(web, "255.255.255.255:80", 1), dataplane.ErrInvalid},
		step{dataplane.Add, memberOf(six, "[ff02::1]:80", 1), dataplane.ErrInvalid},
		step{dataplane.Add, memberOf(six, "[fe80::1]:80", 1), dataplane.ErrInvalid},
		step{dataplane.Add, memberOf(web, "[fd00:1::1]:80", 1), dataplane.ErrInvalid},
		step{dataplane.Add, memberOf(web, "10.1.0.1:80", math.MaxInt32+1), dataplane.ErrInvalid},
		step{dataplane.Add, memberOf(web, "10.1.0.2:80", math.MaxInt32), nil},
	)
	s.dump("-A -t 10.96.0.10:80 -s rr\n-a -t 10.96.0.10:80 -r 10.1.0.2:80 -m -w 2147483647\n-A -t [fd00::10]:80 -s rr\n")
}

func (s *suite) connections() {
	s.found(testFoundation())
	web, api, absent := serverAt(dataplane.TCP, "10.96.0.10:80"), serverAt(dataplane.TCP, "10.96.0.11:80"), serverAt(dataplane.TCP, "10.96.0.12:80")
	on, off := memberOf(web, "10.1.0.1:80", 1), memberOf(web, "10.1.0.2:80", 0)
	s.run(step{dataplane.Add, web, nil}, step{dataplane.Add, api, nil}, step{dataplane.Add, on, nil}, step{dataplane.Add, off, nil})
	got, err := s.kernel.Connections(s.ctx, []dataplane.VirtualServerKey{web.Key, absent.Key, api.Key})
	if err != nil {
		s.Fatal(err)
	}
	_, hasOn := got[web.Key][on.Addr]
	_, hasOff := got[web.Key][off.Addr]
	if _, hasAbsent := got[absent.Key]; !hasOn || !hasOff || hasAbsent {
		s.Errorf("connections %v: want those of both real servers of %s, and nothing of %s", got, web.Key, absent.Key)
	}
	if one, known := s.snapshot().Connections[web.Key][off.Addr]; one != 0 || !known || len(s.snapshot().Connections) != 1 {
		s.Errorf("the snapshot has connections %v, want the 0 of the drained server only", s.snapshot().Connections)
	}
}

func (s *suite) flows() {
	s.found(testFoundation())
	udp, tcp := serverAt(dataplane.UDP, "10.96.0.10:53").Key, serverAt(dataplane.TCP, "10.96.0.10:53").Key
	six, marked := serverAt(dataplane.SCTP, "[fd00::10]:53").Key, dataplane.MarkKeyOf(dataplane.IPv4, 1)
	real4, real6 := netip.MustParseAddrPort("10.1.0.1:53"), netip.MustParseAddrPort("[fd00:1::1]:53")
	s.run(
		step{dataplane.Delete, dataplane.Flows{VirtualServer: udp, RealServer: real4}, nil},
		step{dataplane.Delete, dataplane.Flows{VirtualServer: six, RealServer: real6}, nil},
		step{dataplane.Delete, dataplane.Flows{VirtualServer: tcp, RealServer: real4}, dataplane.ErrInvalid},
		step{dataplane.Delete, dataplane.Flows{VirtualServer: marked, RealServer: real4}, dataplane.ErrInvalid},
		step{dataplane.Add, dataplane.Flows{VirtualServer: udp, RealServer: real4}, dataplane.ErrInvalid},
	)
}
