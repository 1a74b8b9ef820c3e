package backend

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"kube-ipvs-proxy/e2e/topology"
)

// maxDatagram is the longest UDP payload, in bytes.
const maxDatagram = 65507

// Server is a running server. Its methods may be called from several goroutines
// at once.
type Server struct {
	name     string
	address  netip.AddrPort
	protocol topology.Protocol

	requests, accepted atomic.Int64
	running            sync.WaitGroup
	listener           net.Listener // TCP and SCTP
	datagrams          *net.UDPConn // UDP

	mu          sync.Mutex // guards connections, which is nil once closed
	connections map[net.Conn]struct{}
}

// Start serves at an address of the namespace until the test ends or Close. It answers
// with the namespace's name. The address should be one that belongs to the namespace,
// since UDP answers come from it. It fails the test if it cannot.
func Start(t testing.TB, in *topology.Netns, protocol topology.Protocol, address netip.AddrPort) *Server {
	t.Helper()
	s := &Server{name: in.Name, address: address, protocol: protocol, connections: map[net.Conn]struct{}{}}
	var err error
	if protocol == topology.UDP {
		s.datagrams, err = in.ListenPacket(address)
	} else {
		s.listener, err = in.Listen(protocol, address)
	}
	if err != nil {
		t.Fatal(err)
	}
	if protocol == topology.UDP {
		s.running.Go(s.serveDatagrams)
	} else {
		s.running.Go(s.accept)
	}
	t.Cleanup(s.Close)
	return s
}

// StartAll serves every given protocol on port at both addresses of the namespace. The
// servers are in the order of protocols, IPv4 before IPv6.
func StartAll(t testing.TB, in *topology.Netns, port uint16, protocols ...topology.Protocol) []*Server {
	t.Helper()
	var servers []*Server
	for _, protocol := range protocols {
		for _, family := range topology.Families() {
			servers = append(servers, Start(t, in, protocol, netip.AddrPortFrom(in.Address(family), port)))
		}
	}
	return servers
}

// Name is what the server answers with.
func (s *Server) Name() string { return s.name }

// Address is where the server serves.
func (s *Server) Address() netip.AddrPort { return s.address }

// Protocol is what the server speaks.
func (s *Server) Protocol() topology.Protocol { return s.protocol }

// Requests is how many requests the server has got so far. One that was answered
// is counted.
func (s *Server) Requests() int { return int(s.requests.Load()) }

// Accepted is how many connections the server has accepted so far, 0 for UDP.
func (s *Server) Accepted() int { return int(s.accepted.Load()) }

// Open is how many connections the server has open now, 0 for UDP.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.connections)
}

// StopAccepting refuses new connections and goes on serving the present ones. UDP
// has no connections: there it is Close.
func (s *Server) StopAccepting() {
	if s.listener == nil {
		s.Close()
		return
	}
	_ = s.listener.Close()
}

// Close ends the server and its connections, and returns when nothing of it
// runs any more. Closing twice is fine.
func (s *Server) Close() {
	if s.listener != nil {
		_ = s.listener.Close()
	}
	if s.datagrams != nil {
		_ = s.datagrams.Close()
	}
	s.mu.Lock()
	for connection := range s.connections {
		_ = connection.Close()
	}
	s.connections = nil
	s.mu.Unlock()
	s.running.Wait()
}

// accept serves connections until the listener is closed.
func (s *Server) accept() {
	for {
		connection, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // one connection's failure, such as a reset before it was accepted
		}
		s.accepted.Add(1)
		if s.keep(connection) {
			s.running.Go(func() { s.serve(connection) })
		}
	}
}

// keep remembers a connection so that Close can end it. It closes one that comes
// too late, and returns false.
func (s *Server) keep(connection net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connections == nil {
		_ = connection.Close()
		return false
	}
	s.connections[connection] = struct{}{}
	return true
}

// serve answers the requests of one connection until it ends.
func (s *Server) serve(connection net.Conn) {
	defer func() {
		_ = connection.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.connections, connection)
	}()
	reply := Reply{Backend: s.name, Server: address(connection.LocalAddr()), Client: address(connection.RemoteAddr())}
	reader := bufio.NewReader(connection)
	for {
		request, err := ReadRequest(reader)
		if err != nil {
			return // the client sees the end of the connection
		}
		reply.Received = request.Padding
		s.requests.Add(1)
		if _, err := connection.Write(reply.Append(nil, request.ReplyPadding)); err != nil {
			return
		}
	}
}

// serveDatagrams answers datagrams until the socket is closed.
func (s *Server) serveDatagrams() {
	buffer := make([]byte, maxDatagram)
	for {
		n, client, err := s.datagrams.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error for an earlier answer
		}
		request, err := ReadRequest(bufio.NewReader(bytes.NewReader(buffer[:n])))
		if err != nil {
			continue // the client gets no answer
		}
		reply := Reply{Backend: s.name, Server: s.address, Client: unmapped(client), Received: request.Padding}
		s.requests.Add(1)
		// A lost answer is the client's to notice.
		_, _ = s.datagrams.WriteToUDPAddrPort(reply.Append(nil, request.ReplyPadding), client)
	}
}

// address converts what stream sockets of package net have.
func address(a net.Addr) netip.AddrPort {
	stream, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return unmapped(stream.AddrPort())
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
