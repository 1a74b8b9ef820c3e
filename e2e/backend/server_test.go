package backend_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/topology"
)

// limit bounds what these tests wait for.
const limit = time.Minute

// connect makes a connection inside a namespace that the test closes.
func connect(t *testing.T, from *topology.Netns, protocol topology.Protocol, to netip.AddrPort) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	connection, err := from.Dial(ctx, protocol, netip.AddrPort{}, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return connection
}

// write sends text.
func write(t *testing.T, connection net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(connection, text); err != nil {
		t.Fatal(err)
	}
}

func TestStartAllServesBothFamilies(t *testing.T) {
	node := topology.New(t, topology.Options{}).Node
	servers := backend.StartAll(t, node.Netns, 8080, topology.TCP, topology.UDP)
	if len(servers) != 4 || servers[1].Protocol() != topology.TCP || servers[1].Address().Addr() != node.IPv6 {
		t.Fatalf("got %d servers, the second is %s at %v", len(servers), servers[1].Protocol(), servers[1].Address())
	}
	for _, server := range servers {
		connection := connect(t, node.Netns, server.Protocol(), server.Address())
		write(t, connection, "0 0\n")
		reply, err := backend.ReadReply(bufio.NewReader(connection))
		if err != nil || reply.Backend != "node-1" || reply.Server != server.Address() || reply.Client.String() != connection.LocalAddr().String() {
			t.Errorf("%s %v: got %+v, %v for %v", server.Protocol(), server.Address(), reply, err, connection.LocalAddr())
		}
	}
}

func TestNonsenseEndsOneConnectionOnly(t *testing.T) {
	node := topology.New(t, topology.Options{}).Node
	server := backend.Start(t, node.Netns, topology.TCP, netip.AddrPortFrom(node.IPv4, 8080))
	good, bad := connect(t, node.Netns, topology.TCP, server.Address()), connect(t, node.Netns, topology.TCP, server.Address())
	write(t, bad, "GET / HTTP/1.1\n")
	if _, err := io.ReadAll(bad); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nonsense: %v, want the connection ended", err)
	}
	write(t, good, "0 0\n0 3\n")
	replies := bufio.NewReader(good)
	for range 2 {
		if _, err := backend.ReadReply(replies); err != nil {
			t.Error(err)
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	node := topology.New(t, topology.Options{}).Node
	at := netip.AddrPortFrom(node.IPv4, 8080)
	for range 2 { // the second finds the port free
		server := backend.Start(t, node.Netns, topology.TCP, at)
		connection := connect(t, node.Netns, topology.TCP, at)
		write(t, connection, "0 0\n")
		replies := bufio.NewReader(connection)
		if _, err := backend.ReadReply(replies); err != nil {
			t.Fatal(err)
		}
		server.Close()
		server.Close()
		if _, err := backend.ReadReply(replies); !errors.Is(err, io.EOF) {
			t.Errorf("after Close: %v, want %v", err, io.EOF)
		}
		if server.Open() != 0 || server.Name() != "node-1" {
			t.Errorf("%s has %d connections after Close", server.Name(), server.Open())
		}
	}
}
