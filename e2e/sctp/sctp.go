package sctp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// noDelay is SCTP_NODELAY of RFC 6458, section 8.1.5, as linux/sctp.h numbers it.
	noDelay = 3
	// backlog is how many connections may wait to be accepted.
	backlog = 1024
)

// ErrUnsupported says that the kernel has no SCTP: load its module sctp.
var ErrUnsupported = errors.New("the kernel has no SCTP (load its module sctp)")

// Supported returns nil if the kernel has SCTP, ErrUnsupported if it has not, and
// the socket call's error if that does not tell.
func Supported() error {
	fd, err := open(netip.IPv4Unspecified())
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// Listen accepts connections at an address of the calling thread's namespace.
func Listen(address netip.AddrPort) (net.Listener, error) {
	fd, err := open(address.Addr())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		named("SO_REUSEADDR", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)),
		named("bind", unix.Bind(fd, sockaddr(address))),
		named("listen", unix.Listen(fd, backlog)),
	); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// FileListener works on a copy of the descriptor.
	file := os.NewFile(uintptr(fd), "sctp "+address.String())
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("wrap an SCTP listener: %w", err)
	}
	return listener, nil
}

// Dial connects to remote from the calling thread's namespace. An invalid local
// address stands for the one that the kernel's routes prefer, port 0 for any
// free one. It ends with ctx, which should have a deadline: SCTP alone gives up after
// about a minute. A refusal, by an ABORT or an ICMP error, is ECONNREFUSED.
func Dial(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	if !local.Addr().IsValid() {
		source, err := preferredSource(remote)
		if err != nil {
			return nil, err
		}
		local = netip.AddrPortFrom(source, local.Port())
	}
	fd, err := open(remote.Addr())
	if err != nil {
		return nil, err
	}
	if err := prepare(fd, local, remote.Addr().Is4()); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	err = unix.Connect(fd, sockaddr(remote))
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, errors.Join(named("connect", err), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "sctp "+remote.String())
	defer file.Close()
	if err := await(ctx, file); err != nil {
		return nil, err
	}
	connection, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("wrap an SCTP connection: %w", err)
	}
	return connection, nil
}

// open makes a non-blocking socket for address's family.
func open(address netip.Addr) (int, error) {
	domain := unix.AF_INET6
	if address.Is4() {
		domain = unix.AF_INET
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_SCTP)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		return -1, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return fd, named("socket", err)
}

// prepare sets up a client's socket.
func prepare(fd int, local netip.AddrPort, four bool) error {
	// Without this the kernel keeps ICMP errors to itself until it gives up.
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	if four {
		level, option = unix.IPPROTO_IP, unix.IP_RECVERR
	}
	return errors.Join(
		named("IP_RECVERR", unix.SetsockoptInt(fd, level, option, 1)),
		named("SCTP_NODELAY", unix.SetsockoptInt(fd, unix.IPPROTO_SCTP, noDelay, 1)),
		named("SO_REUSEADDR", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)),
		named("bind", unix.Bind(fd, sockaddr(local))),
	)
}

// await waits until a connecting socket is connected, has failed, or ctx ends.
func await(ctx context.Context, file *os.File) error {
	// Expiry of the deadline ends the wait below.
	stop := context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for an SCTP connection: %w", err)
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		var done bool
		done, result = connected(int(fd))
		return done
	})
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("wait for an SCTP connection: %w", err)
	}
	return named("connect", result)
}

// connected reports whether a connecting socket has succeeded or failed.
func connected(fd int) (bool, error) {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, err
	}
	if code != 0 {
		return true, unix.Errno(code)
	}
	_, err = unix.Getpeername(fd)
	if errors.Is(err, unix.ENOTCONN) {
		return false, nil
	}
	return true, err
}

// preferredSource is the address that the calling thread's namespace sends from
// to remote. Connecting a datagram socket looks it up and sends nothing.
func preferredSource(remote netip.AddrPort) (netip.Addr, error) {
	probe, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find the source address for %v: %w", remote, err)
	}
	defer probe.Close()
	source := probe.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	return source.Unmap(), nil
}

func sockaddr(address netip.AddrPort) unix.Sockaddr {
	if address.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: address.Addr().As4(), Port: int(address.Port())}
	}
	return &unix.SockaddrInet6{Addr: address.Addr().As16(), Port: int(address.Port())}
}

// named says which call an error came from; nil stays nil.
func named(call string, err error) error {
	if err != nil {
		return fmt.Errorf("sctp: %s: %w", call, err)
	}
	return nil
}
