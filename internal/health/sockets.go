package health

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Bounds of what a client may cost: health checks are small, and their ports are open to the network.
const (
	requestTimeout = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	mostHeader     = 16 << 10 // bytes
)

// closeGrace bounds how long requests under way may take once their port is to be closed.
const closeGrace = time.Second

// Backoff of sockets that could not be opened: doubled with each failure in a row.
const (
	reopenFirst = 100 * time.Millisecond
	reopenMost  = 10 * time.Second
)

// sockets are the listeners. One goroutine uses it.
type sockets struct {
	clock   clock.PassiveClock
	handler func(at netip.AddrPort) http.Handler
	// broke is called, from another goroutine, when a listener fails that nobody closed.
	broke   func(*listener, error)
	open    map[netip.AddrPort]*listener
	failing map[netip.AddrPort]attempt
	running sync.WaitGroup
}

// listener is a socket that is served.
type listener struct {
	at     netip.AddrPort
	socket net.Listener
	web    *http.Server
}

// attempt is the last of some failures in a row, and when the next one is due.
type attempt struct {
	err      error
	failures int
	due      time.Time
}

// ensure opens a socket unless it is open.
func (s *sockets) ensure(at netip.AddrPort) {
	if s.open[at] != nil {
		return
	}
	// Each family has a socket of its own, so that one of them is not needed for the other.
	network := "tcp6"
	if at.Addr().Is4() {
		network = "tcp4"
	}
	socket, err := net.Listen(network, at.String())
	if err != nil {
		s.failed(at, err)
		return
	}
	delete(s.failing, at)
	l := &listener{at, socket, &http.Server{Handler: s.handler(at), ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: mostHeader}}
	s.open[at] = l
	s.running.Go(func() { s.broke(l, l.web.Serve(socket)) })
}

// drop closes a socket, and does not try to open it any more. Its port is free when drop returns; requests under way may
// still be answered.
func (s *sockets) drop(at netip.AddrPort) {
	delete(s.failing, at)
	l := s.open[at]
	if l == nil {
		return
	}
	delete(s.open, at)
	_ = l.socket.Close() // it can only be closed already
	s.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
		defer cancel()
		if l.web.Shutdown(ctx) != nil {
			_ = l.web.Close() // the clients that are still there took too long
		}
	})
}

// lost takes note that a listener failed. One that was dropped is none of its business.
func (s *sockets) lost(l *listener, err error) {
	if s.open[l.at] != l {
		return
	}
	s.drop(l.at)
	s.failed(l.at, err)
}

func (s *sockets) failed(at netip.AddrPort, err error) {
	failures := s.failing[at].failures + 1
	wait := min(reopenFirst<<min(failures-1, 20), reopenMost)
	s.failing[at] = attempt{err, failures, s.clock.Now().Add(wait)}
}

// due returns the failed sockets whose time has come.
func (s *sockets) due() []netip.AddrPort {
	var out []netip.AddrPort
	now := s.clock.Now()
	for at, attempt := range s.failing {
		if !attempt.due.After(now) {
			out = append(out, at)
		}
	}
	return out
}

// untilDue returns the time until the next failed socket is due; a long one if there is none.
func (s *sockets) untilDue() time.Duration {
	wait, now := time.Hour, s.clock.Now()
	for _, attempt := range s.failing {
		wait = min(wait, attempt.due.Sub(now))
	}
	return max(wait, 0)
}

// close drops everything and returns when nothing runs any more.
func (s *sockets) close() {
	for at := range s.open {
		s.drop(at)
	}
	s.running.Wait()
}
