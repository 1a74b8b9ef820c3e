package kerneltest

import (
	"errors"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

func (s *suite) beforeFoundation() {
	if snapshot, err := s.kernel.Snapshot(s.ctx); !errors.Is(err, dataplane.ErrNotExist) || snapshot != nil {
		s.Errorf("snapshot without a device: %v, %v; want none and ErrNotExist", snapshot, err)
	}
	web := serverAt(dataplane.TCP, "10.96.0.10:80")
	s.run(
		step{dataplane.Add, address("10.96.0.10"), dataplane.ErrNotExist},
		step{dataplane.Delete, address("10.96.0.10"), nil},
		step{dataplane.Add, dataplane.Entry{Set: setIP, Addr: web.Key.Addr}, dataplane.ErrNotExist},
		step{dataplane.Delete, dataplane.Entry{Set: setIP, Addr: web.Key.Addr}, nil},
		step{dataplane.Add, web, nil},
		step{dataplane.Add, memberOf(web, "10.1.0.1:8080", 1), nil},
	)
	s.found(testFoundation())
	s.dump(`-A -t 10.96.0.10:80 -s rr
-a -t 10.96.0.10:80 -r 10.1.0.1:8080 -m -w 1
`)
}

func (s *suite) foundation() {
	first := s.found(testFoundation())
	for _, want := range []string{dataplane.Device, setIP, setBitmap, setSix, "IPv4", "IPv6"} {
		if !slices.ContainsFunc(first, func(line string) bool { return strings.Contains(line, want) }) {
			s.Errorf("the first foundation does not mention %s:\n%s", want, strings.Join(first, "\n"))
		}
	}
	if again := s.found(testFoundation()); len(again) != 0 {
		s.Errorf("repaired a second time, though nothing had changed:\n%s", strings.Join(again, "\n"))
	}
	if err := s.world.DropDevice(); err != nil {
		s.Fatal(err)
	}
	if snapshot, err := s.kernel.Snapshot(s.ctx); !errors.Is(err, dataplane.ErrNotExist) || snapshot != nil {
		s.Errorf("snapshot without a device: %v, %v; want none and ErrNotExist", snapshot, err)
	}
	if again := s.found(testFoundation()); len(again) != 1 || !strings.Contains(again[0], dataplane.Device) {
		s.Errorf("after the device was deleted, repaired %q", again)
	}
	s.dump("")
}

// P21: a set grows without losing entries, by itself when it is full and when the foundation wants it larger; a set that
// is larger than wanted is right.
func (s *suite) setGrows() {
	foundation := testFoundation()
	s.found(foundation)
	entry := func(addr string) dataplane.Entry { return dataplane.Entry{Set: setSmall, Addr: address(addr).Addr} }
	s.run(
		step{dataplane.Add, entry("10.0.0.1"), nil},
		step{dataplane.Add, entry("10.0.0.2"), nil},
		step{dataplane.Add, entry("10.0.0.3"), nil},
		step{dataplane.Add, entry("10.0.0.2"), nil},
	)
	if repaired := s.found(foundation); len(repaired) != 0 {
		s.Errorf("a set that had grown was repaired: %q", repaired)
	}
	for i := range foundation.Sets {
		if foundation.Sets[i].Name == setSmall {
			foundation.Sets[i].MaxElem = 128
		}
	}
	if repaired := s.found(foundation); len(repaired) != 1 || !strings.Contains(repaired[0], setSmall) {
		s.Errorf("a larger set was reported as %q", repaired)
	}
	s.run(step{dataplane.Add, entry("10.0.0.4"), nil})
	s.dump("add " + setSmall + " 10.0.0.1\nadd " + setSmall + " 10.0.0.2\nadd " + setSmall + " 10.0.0.3\nadd " + setSmall + " 10.0.0.4\n")
}

// P22: a set of another type in the way, used by rules, is replaced.
func (s *suite) wrongSet() {
	old := testFoundation()
	for i := range old.Sets {
		if old.Sets[i].Name == setPort {
			old.Sets[i].Type = dataplane.HashIPPortIP
		}
	}
	old.Rulesets = old.Rulesets[:1]
	old.Rulesets[0].Chains[0].Rules[0].Matches = []dataplane.Match{dataplane.MatchSet{Set: setPort, Fields: "dst,dst,src"}}
	s.found(old)
	repaired := s.found(testFoundation())
	if !slices.ContainsFunc(repaired, func(line string) bool { return strings.Contains(line, setPort) }) {
		s.Errorf("the replaced set is missing in %q", repaired)
	}
	s.run(step{dataplane.Add, dataplane.Entry{Set: setPort, Addr: address("10.0.0.1").Addr, Protocol: dataplane.TCP, Port: 80}, nil})
	s.dump("add " + setPort + " 10.0.0.1,tcp:80\n")
	if again := s.found(testFoundation()); len(again) != 0 {
		s.Errorf("repaired a second time, though nothing had changed:\n%s", strings.Join(again, "\n"))
	}
}
