package kerneltest

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
)

// Conformance checks what kernel.Kernel and dataplane.Verb promise. It runs against Fake in this package's tests and
// against the real kernel in the lab, so that what a test sees of a Fake is what a node does. Open returns a fresh kernel
// without a foundation, and somebody else's hands on it; it is called once in each subtest, on that test's goroutine.
func Conformance(t *testing.T, open func(*testing.T) (kernel.Kernel, World)) {
	tests := map[string]func(*suite){
		"BeforeFoundation":   (*suite).beforeFoundation,
		"Foundation":         (*suite).foundation,
		"SetGrows":           (*suite).setGrows,
		"WrongSetInTheWay":   (*suite).wrongSet,
		"VirtualServers":     (*suite).virtualServers,
		"BadVirtualServers":  (*suite).badVirtualServers,
		"RealServers":        (*suite).realServers,
		"BadRealServers":     (*suite).badRealServers,
		"Connections":        (*suite).connections,
		"Addresses":          (*suite).addresses,
		"Entries":            (*suite).entries,
		"BadEntries":         (*suite).badEntries,
		"Flows":              (*suite).flows,
		"UnknownOperations":  (*suite).unknownOperations,
		"EndedContext":       (*suite).endedContext,
		"AddressEvents":      (*suite).addressEvents,
		"DeviceEvents":       (*suite).deviceEvents,
		"NodeAddresses":      (*suite).nodeAddresses,
		"SubscriptionCloses": (*suite).subscriptionCloses,
		"BesideChanges":      (*suite).besideChanges,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			t.Cleanup(cancel)
			k, world := open(t)
			t.Cleanup(func() {
				if err := k.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test(&suite{T: t, ctx: ctx, kernel: k, world: world})
		})
	}
}

// suite is one subtest of Conformance.
type suite struct {
	*testing.T
	ctx    context.Context
	kernel kernel.Kernel
	world  World
}

// The sets of the suite's foundation, one of each type and some more; setSmall holds two entries.
const (
	setIP     = "KUBE-TEST-IP"
	setPort   = "KUBE-TEST-IP-PORT"
	setPortIP = "KUBE-TEST-IP-PORT-IP"
	setNet    = "KUBE-TEST-IP-PORT-NET"
	setBitmap = "KUBE-TEST-BITMAP"
	setMarks  = "KUBE-TEST-MARKS"
	setSmall  = "KUBE-TEST-SMALL"
	setSix    = "KUBE-TEST-6-PORT"
)

func hashSet(name string, kind dataplane.SetType, family dataplane.Family) dataplane.Set {
	return dataplane.Set{Name: name, Type: kind, Family: family, HashSize: dataplane.DefaultHashSize, MaxElem: dataplane.DefaultMaxElem}
}

// testFoundation is a small foundation with rules that use its sets.
func testFoundation() kernel.Foundation {
	marks := hashSet(setMarks, dataplane.HashIPPort, dataplane.IPv4)
	marks.Marks = true
	small := hashSet(setSmall, dataplane.HashIP, dataplane.IPv4)
	small.MaxElem = 2
	return kernel.Foundation{
		Sets: []dataplane.Set{
			hashSet(setIP, dataplane.HashIP, dataplane.IPv4),
			hashSet(setPort, dataplane.HashIPPort, dataplane.IPv4),
			hashSet(setPortIP, dataplane.HashIPPortIP, dataplane.IPv4),
			hashSet(setNet, dataplane.HashIPPortNet, dataplane.IPv4),
			{Name: setBitmap, Type: dataplane.BitmapPort, Family: dataplane.IPv4},
			marks, small,
			hashSet(setSix, dataplane.HashIPPort, dataplane.IPv6),
		},
		Rulesets: []dataplane.Ruleset{testRules(dataplane.IPv4, setPort), testRules(dataplane.IPv6, setSix)},
	}
}

// testRules marks packets to what a set contains, and masquerades what is marked.
func testRules(family dataplane.Family, set string) dataplane.Ruleset {
	toSet := []dataplane.Match{dataplane.MatchSet{Set: set, Fields: "dst,dst"}}
	marked := []dataplane.Match{dataplane.MatchMark{Value: 0x4000, Mask: 0x4000}}
	return dataplane.Ruleset{
		Family: family,
		Chains: []dataplane.Chain{
			{Table: dataplane.NAT, Name: "KUBE-SERVICES", Rules: []dataplane.Rule{
				{Matches: toSet, Action: dataplane.SetMark{Value: 0x4000, Mask: 0x4000}, Comment: "conformance test"},
			}},
			{Table: dataplane.NAT, Name: "KUBE-POSTROUTING", Rules: []dataplane.Rule{
				{Matches: marked, Action: dataplane.SNATToNode{RandomPort: true}},
			}},
		},
		Jumps: []dataplane.Jump{
			{Table: dataplane.NAT, From: "PREROUTING", To: "KUBE-SERVICES", Comment: "conformance test"},
			{Table: dataplane.NAT, From: "POSTROUTING", To: "KUBE-POSTROUTING", Comment: "conformance test"},
		},
	}
}

// found makes the foundation exist and returns what was repaired.
func (s *suite) found(foundation kernel.Foundation) []string {
	s.Helper()
	repaired, err := s.kernel.EnsureFoundation(s.ctx, foundation)
	if err != nil {
		s.Fatalf("ensure the foundation: %v", err)
	}
	return repaired
}

// step is an operation and the error it must end in; nil for success.
type step struct {
	verb   dataplane.Verb
	object dataplane.Object
	want   error
}

// run applies all steps in one batch and compares each result.
func (s *suite) run(steps ...step) {
	s.Helper()
	var ops []dataplane.Operation
	for _, step := range steps {
		ops = append(ops, dataplane.Operation{Verb: step.verb, Object: step.object})
	}
	results := s.kernel.Apply(s.ctx, ops)
	if len(results) != len(ops) {
		s.Fatalf("%d results for %d operations", len(results), len(ops))
	}
	for i, err := range results {
		if !errors.Is(err, steps[i].want) {
			s.Errorf("operation %d, %s: got error %v, want %v", i, ops[i], err, steps[i].want)
		}
	}
}

func (s *suite) snapshot() *kernel.Snapshot {
	s.Helper()
	snapshot, err := s.kernel.Snapshot(s.ctx)
	if err != nil {
		s.Fatalf("snapshot: %v", err)
	}
	return snapshot
}

// dump compares everything in the kernel with the wanted text.
func (s *suite) dump(want string) {
	s.Helper()
	if got := s.snapshot().Dump(); got != want {
		s.Errorf("the kernel has\n%swant\n%s", got, want)
	}
}

func serverAt(protocol dataplane.Protocol, at string) dataplane.VirtualServer {
	addr := netip.MustParseAddrPort(at)
	return dataplane.VirtualServer{
		Key:       dataplane.KeyOf(protocol, addr.Addr(), addr.Port()),
		Scheduler: "rr",
		MaskBits:  uint8(addr.Addr().BitLen()),
	}
}

func memberOf(server dataplane.VirtualServer, at string, weight uint32) dataplane.Member {
	return dataplane.Member{
		VirtualServer: server.Key,
		RealServer:    dataplane.RealServer{Addr: netip.MustParseAddrPort(at), Weight: weight},
	}
}

func address(s string) dataplane.Address { return dataplane.Address{Addr: netip.MustParseAddr(s)} }
