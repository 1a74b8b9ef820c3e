package topology

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// forwardDialTimeout bounds the connection to the forwarder's target.
const forwardDialTimeout = 30 * time.Second

// Forwarder carries TCP connections from a namespace to the test's own. Its
// methods may be called from several goroutines at once.
type Forwarder struct {
	from   *Netns
	listen netip.AddrPort
	target string

	mu          sync.Mutex // guards the following
	listener    net.Listener
	connections map[net.Conn]struct{}
	running     sync.WaitGroup
}

// ForwardTCP makes 127.0.0.1:port of the namespace reach 127.0.0.1:port of the
// namespace that the test process runs in, until the test ends or Stop.
func (n *Netns) ForwardTCP(t testing.TB, port uint16) *Forwarder {
	t.Helper()
	address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	f := &Forwarder{from: n, listen: address, target: address.String(), connections: map[net.Conn]struct{}{}}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Stop)
	return f
}

// Start forwards again after a Stop. While forwarding it does nothing.
func (f *Forwarder) Start() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener != nil {
		return nil
	}
	listener, err := f.from.Listen(TCP, f.listen)
	if err != nil {
		return fmt.Errorf("forward to the test's %s: %w", f.target, err)
	}
	f.listener = listener
	f.running.Go(func() { f.accept(listener) })
	return nil
}

// Stop refuses new connections and cuts the present ones, as a server that dies
// does, and returns when none is left.
func (f *Forwarder) Stop() {
	f.mu.Lock()
	if f.listener != nil {
		_ = f.listener.Close()
		f.listener = nil
	}
	for connection := range f.connections {
		_ = connection.Close()
	}
	f.mu.Unlock()
	f.running.Wait()
}

// accept serves a listener until it is closed.
func (f *Forwarder) accept(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // one connection's failure, such as a reset before it was accepted
		}
		if f.keep(listener, connection) {
			f.running.Go(func() { f.carry(connection) })
		}
	}
}

// keep remembers a connection so that Stop can cut it. It closes one that comes
// after Stop, and returns false.
func (f *Forwarder) keep(listener net.Listener, connection net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener != listener {
		_ = connection.Close()
		return false
	}
	f.connections[connection] = struct{}{}
	return true
}

// carry joins a connection with one to the target until either end closes.
func (f *Forwarder) carry(inner net.Conn) {
	defer f.drop(inner)
	outer, err := net.DialTimeout("tcp4", f.target, forwardDialTimeout)
	if err != nil {
		return // closing the inner connection tells its user
	}
	defer outer.Close()
	copied := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{inner, outer}, {outer, inner}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			copied <- struct{}{}
		}()
	}
	<-copied
	_ = inner.Close()
	_ = outer.Close()
	<-copied
}

// drop closes and forgets a connection.
func (f *Forwarder) drop(connection net.Conn) {
	_ = connection.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.connections, connection)
}
