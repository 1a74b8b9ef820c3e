package probe_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/sctp"
	"kube-ipvs-proxy/e2e/topology"
)

const port = 8080

// quick is a timeout for questions that must not be answered.
const quick = 300 * time.Millisecond

// protocols returns what this kernel can speak. SCTP is missing only where the
// kernel lacks it; the lab's kernel has it.
func protocols(t *testing.T) []topology.Protocol {
	t.Helper()
	err := sctp.Supported()
	if errors.Is(err, sctp.ErrUnsupported) {
		t.Logf("SCTP is left to a run in the lab: %v", err)
		return []topology.Protocol{topology.TCP, topology.UDP}
	}
	if err != nil {
		t.Fatal(err)
	}
	return topology.Protocols()
}

// each runs f for every protocol and family as a subtest.
func each(t *testing.T, f func(t *testing.T, protocol topology.Protocol, family topology.Family)) {
	t.Helper()
	for _, protocol := range protocols(t) {
		for _, family := range topology.Families() {
			t.Run(string(protocol)+" "+string(family), func(t *testing.T) { f(t, protocol, family) })
		}
	}
}

// pair is a pod on each node.
func pair(t *testing.T) (*topology.Topology, *topology.Pod, *topology.Pod) {
	t.Helper()
	top := topology.New(t, topology.Options{})
	return top, top.Node.AddPod(t, "near"), top.Node2.AddPod(t, "far")
}

func TestAnswerTellsWhoSawWhom(t *testing.T) {
	_, near, far := pair(t)
	each(t, func(t *testing.T, protocol topology.Protocol, family topology.Family) {
		server := backend.Start(t, far.Netns, protocol, netip.AddrPortFrom(far.Address(family), port))
		target := probe.To(protocol, far.Address(family), port)
		target.LocalPort = 4321
		target.Request = backend.Request{Padding: 40000, ReplyPadding: 50000}
		want := probe.Answer{
			Backend:  "far",
			Server:   server.Address(),
			Client:   netip.AddrPortFrom(near.Address(family), 4321),
			Received: 40000,
		}
		if got, err := probe.Ask(t.Context(), near.Netns, target); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		if server.Requests() != 1 {
			t.Errorf("the server counts %d requests, want 1", server.Requests())
		}
	})
}

func TestRefusedIsNotTimeout(t *testing.T) {
	top, near, far := pair(t)
	each(t, func(t *testing.T, protocol topology.Protocol, family topology.Family) {
		target := probe.To(protocol, far.Address(family), 9)
		if _, err := probe.Ask(t.Context(), near.Netns, target); !errors.Is(err, probe.ErrRefused) || errors.Is(err, probe.ErrTimeout) {
			t.Errorf("nobody listens: %v, want %v", err, probe.ErrRefused)
		}
		// Packets for this address go to a node, which sends them back to the client,
		// which forwards nothing and says nothing.
		target = probe.To(protocol, netip.MustParseAddr("192.0.2.1"), 9)
		if family == topology.IPv6 {
			target.AddrPort = netip.MustParseAddrPort("[2001:db8::1]:9")
		}
		hole := netip.PrefixFrom(target.AddrPort.Addr(), target.AddrPort.Addr().BitLen())
		top.Client.RouteVia(t, hole, top.Node)
		top.Node.RouteVia(t, hole, top.Client)
		target.Timeout = quick
		if _, err := probe.Ask(t.Context(), top.Client.Netns, target); !errors.Is(err, probe.ErrTimeout) {
			t.Errorf("nothing answers: %v, want %v", err, probe.ErrTimeout)
		}
		top.Client.UnrouteUplink(t, hole)
		if _, err := probe.Ask(t.Context(), top.Client.Netns, target); !errors.Is(err, probe.ErrUnreachable) {
			t.Errorf("no route: %v, want %v", err, probe.ErrUnreachable)
		}
	})
}

func TestSessionOutlivesAccepting(t *testing.T) {
	_, near, far := pair(t)
	each(t, func(t *testing.T, protocol topology.Protocol, family topology.Family) {
		if protocol == topology.UDP {
			return // has no connections
		}
		server := backend.Start(t, far.Netns, protocol, netip.AddrPortFrom(far.Address(family), port))
		session, err := probe.Open(t.Context(), near.Netns, probe.To(protocol, far.Address(family), port))
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		first, err := session.Ask(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		server.StopAccepting()
		if _, err := probe.Ask(t.Context(), near.Netns, probe.To(protocol, far.Address(family), port)); !errors.Is(err, probe.ErrRefused) {
			t.Errorf("a new connection: %v, want %v", err, probe.ErrRefused)
		}
		if second, err := session.Ask(t.Context()); err != nil || second != first {
			t.Errorf("the old connection: %+v, %v, want %+v again", second, err, first)
		}
		if server.Open() != 1 || server.Accepted() != 1 {
			t.Errorf("the server has accepted %d and has %d open, want 1 and 1", server.Accepted(), server.Open())
		}
		server.Close()
		if _, err := session.Ask(t.Context()); !errors.Is(err, probe.ErrClosed) && !errors.Is(err, probe.ErrReset) {
			t.Errorf("a closed server: %v, want %v or %v", err, probe.ErrClosed, probe.ErrReset)
		}
	})
}

func TestUDPSessionSurvivesItsServer(t *testing.T) {
	_, near, far := pair(t)
	at := netip.AddrPortFrom(far.IPv4, port)
	server := backend.Start(t, far.Netns, topology.UDP, at)
	session, err := probe.Open(t.Context(), near.Netns, probe.Target{Protocol: topology.UDP, AddrPort: at})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := session.Ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if _, err := session.Ask(t.Context()); !errors.Is(err, probe.ErrRefused) {
		t.Errorf("without server: %v, want %v", err, probe.ErrRefused)
	}
	backend.Start(t, far.Netns, topology.UDP, at)
	if answer, err := session.Ask(t.Context()); err != nil || answer.Client != session.LocalAddr() {
		t.Errorf("with another server: %+v, %v", answer, err)
	}
}

func TestAbortFreesThePort(t *testing.T) {
	_, near, far := pair(t)
	server := backend.Start(t, far.Netns, topology.TCP, netip.AddrPortFrom(far.IPv4, port))
	target := probe.To(topology.TCP, far.IPv4, port)
	target.LocalPort = 4321
	for range 3 { // TIME_WAIT would refuse the second
		session, err := probe.Open(t.Context(), near.Netns, target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := session.Ask(t.Context()); err != nil {
			t.Error(err)
		}
		if err := session.Abort(); err != nil {
			t.Error(err)
		}
	}
	if server.Requests() != 3 {
		t.Errorf("the server counts %d requests, want 3", server.Requests())
	}
}

func TestAskNCountsFailuresToo(t *testing.T) {
	_, near, far := pair(t)
	backend.Start(t, far.Netns, topology.TCP, netip.AddrPortFrom(far.IPv4, port))
	tally, err := probe.AskN(t.Context(), near.Netns, probe.To(topology.TCP, far.IPv4, port), 20)
	if err != nil || tally.Backends["far"] != 20 || tally.Clients[near.IPv4] != 20 || tally.String() != "far=20 failed=0" {
		t.Errorf("got %v from %v, %v, want 20 answers", tally, tally.Clients, err)
	}
	tally, err = probe.AskN(t.Context(), near.Netns, probe.To(topology.TCP, far.IPv4, 9), 12)
	if !errors.Is(err, probe.ErrRefused) || tally.Failed != 12 || len(tally.Failures) != 10 {
		t.Errorf("got %v with %d failures kept, %v", tally, len(tally.Failures), err)
	}
	for _, n := range []int{0, probe.MaxAsks + 1} {
		if _, err := probe.AskN(t.Context(), near.Netns, probe.To(topology.TCP, far.IPv4, port), n); err == nil {
			t.Errorf("%d questions are accepted", n)
		}
	}
}

func TestLoadSeesAGap(t *testing.T) {
	_, near, far := pair(t)
	at := netip.AddrPortFrom(far.IPv4, port)
	server := backend.Start(t, far.Netns, topology.TCP, at)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	load := probe.StartLoad(ctx, near.Netns, probe.Target{Protocol: topology.TCP, AddrPort: at}, time.Millisecond)
	session, err := probe.Open(ctx, near.Netns, probe.Target{Protocol: topology.TCP, AddrPort: at})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	held := session.StartLoad(ctx, 0)
	until(ctx, t, func() bool { return load.Tally().Answered >= 10 && held.Tally().Answered >= 10 })
	if tally := held.Stop(); tally.Err() != nil || tally.Clients[near.IPv4] != tally.Answered {
		t.Errorf("the held session: %v from %v", tally, tally.Clients)
	}
	server.Close()
	// The first failure may be a connection that the closing server reset.
	until(ctx, t, func() bool { return errors.Is(load.Tally().Err(), probe.ErrRefused) })
	backend.Start(t, far.Netns, topology.TCP, at)
	if _, err := probe.Await(ctx, near.Netns, probe.Target{Protocol: topology.TCP, AddrPort: at}, probe.Answered("far")); err != nil {
		t.Fatal(err)
	}
	before := load.Tally().Answered
	until(ctx, t, func() bool { return load.Tally().Answered > before })
	if tally := load.Stop(); tally.Failed == 0 || !errors.Is(tally.Err(), probe.ErrRefused) || tally.Answered <= before {
		t.Errorf("got %v, want refusals from the gap and answers after it", tally)
	}
}

// until waits for a condition and fails the test if ctx ends first.
func until(ctx context.Context, t *testing.T, condition func() bool) {
	t.Helper()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatal("what the test waits for does not come")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestAwaitTellsTheLastOutcome(t *testing.T) {
	_, near, far := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), quick)
	defer cancel()
	_, err := probe.Await(ctx, near.Netns, probe.To(topology.TCP, far.IPv4, 9), probe.Answered("far"))
	if !errors.Is(err, probe.ErrRefused) && !errors.Is(err, probe.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the last refusal or the end of the time", err)
	}
}

// A question from a port that an earlier one had would go where the earlier one went.
func TestQuestionsHavePortsOfTheirOwn(t *testing.T) {
	_, near, far := pair(t)
	each(t, func(t *testing.T, protocol topology.Protocol, family topology.Family) {
		backend.Start(t, far.Netns, protocol, netip.AddrPortFrom(far.Address(family), port))
		target := probe.To(protocol, far.Address(family), port)
		seen := map[uint16]bool{}
		for range 100 { // of ports at random, two would be equal in one of six runs
			answer, err := probe.Ask(t.Context(), near.Netns, target)
			if err != nil {
				t.Fatal(err)
			}
			if seen[answer.Client.Port()] {
				t.Errorf("port %d is used twice", answer.Client.Port())
			}
			seen[answer.Client.Port()] = true
		}
	})
}

// A port that somebody else has is left out.
func TestTakenPortIsLeftOut(t *testing.T) {
	_, near, far := pair(t)
	backend.StartAll(t, far.Netns, port, topology.TCP, topology.UDP)
	next := near.NextPort() + 1
	backend.Start(t, near.Netns, topology.TCP, netip.AddrPortFrom(near.IPv4, next))
	answer, err := probe.Ask(t.Context(), near.Netns, probe.To(topology.TCP, far.IPv4, port))
	if err != nil || answer.Client.Port() != next+1 {
		t.Errorf("asked from port %d, %v; want %d", answer.Client.Port(), err, next+1)
	}
}

func TestPing(t *testing.T) {
	_, near, far := pair(t)
	for _, family := range topology.Families() {
		for _, size := range []int{0, 57, 4000} { // odd, and in fragments
			if err := probe.Ping(t.Context(), near.Netns, far.Address(family), size, probe.DefaultTimeout); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
	if err := probe.Ping(t.Context(), near.Netns, netip.MustParseAddr("10.244.2.99"), 0, quick); !errors.Is(err, probe.ErrTimeout) && !errors.Is(err, probe.ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
}
