package probe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/topology"
)

// maxDatagram is the longest UDP payload, in bytes.
const maxDatagram = 65507

// Session is one connection, or for UDP one source port, on which questions are
// asked one after the other. Ask and Close may be called at the same time.
type Session struct {
	target     Target
	from       *topology.Netns
	connection net.Conn
	reader     *bufio.Reader // nil for UDP

	asking sync.Mutex
}

// Open connects to target from a namespace, within the target's timeout. The
// caller closes the session.
func Open(ctx context.Context, from *topology.Netns, target Target) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, target.timeout())
	defer cancel()
	connection, err := dial(ctx, from, target)
	if err != nil {
		return nil, classify(err)
	}
	session := &Session{target: target, from: from, connection: connection}
	if target.Protocol != topology.UDP {
		session.reader = bufio.NewReader(connection)
	}
	return session, nil
}

// mostPorts is how many source ports are tried that somebody else may have.
const mostPorts = 20

// dial connects from the target's source port or, if it has none, from the namespace's next one. A port whose last flow
// the kernel remembers would lead to where that flow led, and not to where a new one is sent.
func dial(ctx context.Context, from *topology.Netns, target Target) (connection net.Conn, err error) {
	if target.LocalPort != 0 {
		return from.Dial(ctx, target.Protocol, netip.AddrPortFrom(target.LocalAddr, target.LocalPort), target.AddrPort)
	}
	for range mostPorts {
		local := netip.AddrPortFrom(target.LocalAddr, from.NextPort())
		connection, err = from.Dial(ctx, target.Protocol, local, target.AddrPort)
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			break
		}
	}
	return connection, err
}

// LocalAddr is the source of the session's packets, as this side sees it.
func (s *Session) LocalAddr() netip.AddrPort {
	switch address := s.connection.LocalAddr().(type) {
	case *net.TCPAddr:
		return address.AddrPort()
	case *net.UDPAddr:
		return address.AddrPort()
	}
	return netip.AddrPort{}
}

// Ask asks once on the session, within the target's timeout. After a failure on
// a connection nothing more can be asked on it; a UDP session goes on.
func (s *Session) Ask(ctx context.Context) (Answer, error) {
	s.asking.Lock()
	defer s.asking.Unlock()
	deadline := time.Now().Add(s.target.timeout())
	if limit, ok := ctx.Deadline(); ok && limit.Before(deadline) {
		deadline = limit
	}
	if err := s.connection.SetDeadline(deadline); err != nil {
		return Answer{}, s.explain(err)
	}
	// A past deadline wakes whatever waits below.
	stop := context.AfterFunc(ctx, func() { _ = s.connection.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := s.connection.Write(s.target.Request.Append(nil)); err != nil {
		return Answer{}, s.explain(err)
	}
	answer, err := s.read()
	if err != nil {
		return Answer{}, s.explain(err)
	}
	if answer.Received != s.target.Request.Padding {
		return Answer{}, s.explain(fmt.Errorf("%w: %s got %d of %d bytes", backend.ErrMalformed, answer.Backend, answer.Received, s.target.Request.Padding))
	}
	return answer, nil
}

// read reads one answer.
func (s *Session) read() (Answer, error) {
	if s.reader != nil {
		return backend.ReadReply(s.reader)
	}
	buffer := make([]byte, maxDatagram)
	n, err := s.connection.Read(buffer)
	if err != nil {
		return Answer{}, err
	}
	return backend.ReadReply(bufio.NewReader(bytes.NewReader(buffer[:n])))
}

// explain says which question failed, and in which way.
func (s *Session) explain(err error) error {
	return fmt.Errorf("ask %v from %s (%v): %w", s.target, s.from.Name, s.LocalAddr(), classify(err))
}

// Close closes the connection in good order. Closing twice is fine.
func (s *Session) Close() error {
	if err := s.connection.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return s.explain(err)
	}
	return nil
}

// Abort closes a TCP connection with a reset, and others like Close.
func (s *Session) Abort() error {
	if stream, ok := s.connection.(*net.TCPConn); ok && s.target.Protocol == topology.TCP {
		if err := stream.SetLinger(0); err != nil {
			return s.explain(err)
		}
	}
	return s.Close()
}
