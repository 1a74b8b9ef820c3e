package topology

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/e2e/sctp"
)

// noKeepAlive turns keep-alive probes off, so that a connection sends what its
// user sends and nothing else.
const noKeepAlive = -1

// Listen accepts TCP or SCTP connections at an address of the namespace. For
// Multipath TCP, which Go would choose, IPVS has no support: it is off.
func (n *Netns) Listen(protocol Protocol, address netip.AddrPort) (listener net.Listener, err error) {
	name, err := network(protocol, address.Addr())
	if err != nil {
		return nil, err
	}
	err = n.Do(func() error {
		switch protocol {
		case SCTP:
			listener, err = sctp.Listen(address)
		case TCP:
			config := net.ListenConfig{KeepAlive: noKeepAlive}
			config.SetMultipathTCP(false)
			listener, err = config.Listen(context.Background(), name, address.String())
		default:
			err = errors.New("not a protocol of connections: use ListenPacket")
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s %v in %s: %w", protocol, address, n.Name, err)
	}
	return listener, nil
}

// ListenPacket receives UDP datagrams at an address of the namespace.
func (n *Netns) ListenPacket(address netip.AddrPort) (connection *net.UDPConn, err error) {
	name, err := network(UDP, address.Addr())
	if err != nil {
		return nil, err
	}
	err = n.Do(func() error {
		connection, err = net.ListenUDP(name, net.UDPAddrFromAddrPort(address))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("receive UDP at %v in %s: %w", address, n.Name, err)
	}
	return connection, nil
}

// Dial connects from the namespace to remote. With a valid local address or a
// local port other than 0 it connects from there, and a port that an earlier
// connection left in TIME_WAIT may be used again. It ends with ctx, which should
// have a deadline.
func (n *Netns) Dial(ctx context.Context, protocol Protocol, local, remote netip.AddrPort) (connection net.Conn, err error) {
	if _, err := network(protocol, remote.Addr()); err != nil {
		return nil, err
	}
	err = n.Do(func() error {
		if protocol == SCTP {
			connection, err = sctp.Dial(ctx, local, remote)
		} else {
			connection, err = dial(ctx, protocol, local, remote)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial %s %v from %s: %w", protocol, remote, n.Name, err)
	}
	return connection, nil
}

// dial connects TCP or UDP in the calling thread's namespace: for a literal
// address, package net makes the socket in the calling goroutine.
func dial(ctx context.Context, protocol Protocol, local, remote netip.AddrPort) (net.Conn, error) {
	name, err := network(protocol, remote.Addr())
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{KeepAlive: noKeepAlive}
	dialer.SetMultipathTCP(false)
	if local.Addr().IsValid() || local.Port() != 0 {
		dialer.Control = reuseAddress
		if protocol == UDP {
			dialer.LocalAddr = &net.UDPAddr{IP: local.Addr().AsSlice(), Port: int(local.Port())}
		} else {
			dialer.LocalAddr = &net.TCPAddr{IP: local.Addr().AsSlice(), Port: int(local.Port())}
		}
	}
	return dialer.DialContext(ctx, name, remote.String())
}

// reuseAddress allows a port again whose last connection is in TIME_WAIT.
func reuseAddress(_, _ string, raw syscall.RawConn) error {
	var set error
	err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	})
	return errors.Join(err, set)
}

// HTTPClient returns a client whose requests go out from the namespace, each on
// a connection of its own, and take no longer than timeout. URLs have to name
// hosts by address.
func (n *Netns) HTTPClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				remote, err := netip.ParseAddrPort(address)
				if err != nil {
					return nil, fmt.Errorf("dial from %s: %w", n.Name, err)
				}
				return n.Dial(ctx, TCP, netip.AddrPort{}, remote)
			},
		},
	}
}
