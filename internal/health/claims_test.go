package health

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// Whatever Services come, change and go, a socket is answered for the oldest that wants it, and set names every socket
// that is wanted by others than before.
func TestB41ClaimsRandomWalk(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c, model := newClaims(), map[claimant]reconcile.HealthCheck{}
	socket := func() netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(2))}), uint16(30000+random.IntN(3)))
	}
	for range 5000 {
		check := reconcile.HealthCheck{Source: "api", Service: service.Name{Namespace: "a", Name: string(rune('a' + random.IntN(4)))},
			Created: time.Unix(int64(random.IntN(2)), 0), Sockets: map[netip.AddrPort]int{}}
		for range random.IntN(4) {
			check.Sockets[socket()] = random.IntN(3)
		}
		before := wishes(model)
		who := claimant{check.Source, check.Service}
		model[who] = check
		changed := c.set(check)
		now := wishes(model)
		for _, all := range []map[netip.AddrPort][]claim{before, now} {
			for at := range all {
				if !slices.EqualFunc(before[at], now[at], sameClaimant) && !slices.Contains(changed, at) {
					t.Fatalf("%v is wanted by %v after %v, and not named", at, now[at], before[at])
				}
			}
		}
		if !maps.EqualFunc(c.bySocket, now, slices.Equal[[]claim]) {
			t.Fatalf("claims %v, want %v", c.bySocket, now)
		}
	}
}

func sameClaimant(a, b claim) bool { return a.claimant == b.claimant && a.created.Equal(b.created) }

func wishes(model map[claimant]reconcile.HealthCheck) map[netip.AddrPort][]claim {
	out := map[netip.AddrPort][]claim{}
	for who, check := range model {
		for at, count := range check.Sockets {
			out[at] = append(out[at], claim{who, check.Created, count})
		}
	}
	for _, all := range out {
		slices.SortFunc(all, claim.compare)
	}
	return out
}

// A listener that fails by itself is opened again, after a pause.
func TestListenerThatBreaks(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
	ended := make(chan error, 2)
	s := &sockets{clock: clock, handler: func(netip.AddrPort) http.Handler { return http.NotFoundHandler() },
		broke: func(_ *listener, err error) { ended <- err },
		open:  map[netip.AddrPort]*listener{}, failing: map[netip.AddrPort]attempt{}}
	t.Cleanup(s.close)
	at := freeSocket(t)
	s.ensure(at)
	first := s.open[at]
	if first == nil {
		t.Fatal(s.failing[at].err)
	}
	_ = first.socket.Close()
	err := <-ended
	if err == nil || errors.Is(err, http.ErrServerClosed) {
		t.Fatalf("it ended with %v", err)
	}
	s.lost(first, err)
	if len(s.due()) != 0 || s.untilDue() != reopenFirst || s.open[at] != nil {
		t.Errorf("due at once: %v, else in %v", s.due(), s.untilDue())
	}
	clock.SetTime(time.Unix(0, 0).Add(reopenFirst))
	if due := s.due(); !slices.Equal(due, []netip.AddrPort{at}) {
		t.Fatalf("due are %v, want %v", due, at)
	}
	s.ensure(at)
	if s.open[at] == nil || len(s.failing) != 0 {
		t.Fatalf("not opened again: %v", s.failing[at].err)
	}
	s.lost(first, err) // late news of a listener that was replaced
	if s.open[at] == nil {
		t.Error("a listener was closed because of another one's failure")
	}
}

// Tries grow rarer, but never rare.
func TestReopenBackoff(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
	s := &sockets{clock: clock, failing: map[netip.AddrPort]attempt{}}
	at, before := freeSocket(t), time.Duration(0)
	for range 200 {
		s.failed(at, errors.New("in use"))
		wait := s.untilDue()
		if wait < before || wait > reopenMost || wait <= 0 {
			t.Fatalf("%v after %v", wait, before)
		}
		before = wait
	}
	if before != reopenMost {
		t.Errorf("%v in the end, want %v", before, reopenMost)
	}
}

func freeSocket(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}
