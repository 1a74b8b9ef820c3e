package sctp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limit bounds what these tests wait for.
const limit = time.Minute

// unsupported checks how everything fails on a kernel without SCTP, and reports
// whether this is one.
func unsupported(t *testing.T) bool {
	t.Helper()
	err := Supported()
	if err == nil {
		return false
	}
	if !errors.Is(err, ErrUnsupported) {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddrPort("127.0.0.1:8080")
	if _, err := Listen(loopback); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Listen: %v, want %v", err, ErrUnsupported)
	}
	if _, err := Dial(t.Context(), netip.AddrPort{}, loopback); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Dial: %v, want %v", err, ErrUnsupported)
	}
	t.Log("the rest is left to a run in the lab, whose kernel has SCTP")
	return true
}

func TestConnection(t *testing.T) {
	if unsupported(t) {
		return
	}
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := Listen(netip.MustParseAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		remote := listener.Addr().(*net.TCPAddr).AddrPort()
		remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		client, err := Dial(ctx, netip.AddrPortFrom(netip.Addr{}, 4321), remote)
		if err != nil {
			t.Fatal(err)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got := server.RemoteAddr().(*net.TCPAddr); got.Port != 4321 || !got.IP.Equal(remote.Addr().AsSlice()) {
			t.Errorf("the client comes from %v, want port 4321 of %v", got, remote.Addr())
		}
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		if err := server.SetDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(server); err != nil || string(got) != "hello" {
			t.Errorf("got %q, %v, want hello and the end", got, err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDialFails(t *testing.T) {
	if unsupported(t) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if _, err := Dial(ctx, netip.AddrPort{}, netip.MustParseAddrPort("127.0.0.1:9")); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("nobody listens: %v, want %v", err, unix.ECONNREFUSED)
	}
	if _, err := Dial(ctx, netip.MustParseAddrPort("192.0.2.1:0"), netip.MustParseAddrPort("127.0.0.1:9")); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("from another's address: %v, want %v", err, unix.EADDRNOTAVAIL)
	}
	cancel()
	if _, err := Dial(ctx, netip.AddrPort{}, netip.MustParseAddrPort("127.0.0.1:9")); err == nil {
		t.Error("a cancelled dial succeeds")
	}
}
