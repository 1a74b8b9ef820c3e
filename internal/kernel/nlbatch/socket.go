package nlbatch

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

const (
	sendBytes     = 200 << 10 // less than the default wmem, so that it needs no privilege
	receiveBuffer = 4 << 20
	answerBytes   = 2048     // no acknowledgement takes more of the receive buffer (the kernel charges about 1 KiB)
	datagramBytes = 64 << 10 // the kernel makes dump answers of at most 32 KiB
)

// Wire is a netlink socket. Receive never waits: with nothing there it fails with EAGAIN, and after answers were lost
// once with ENOBUFS.
type Wire interface {
	Send([]byte) error
	Receive([]byte) (int, error)
	Close() error
}

// Limits of a send, so that the socket takes it and has room for a refusal of every message in it.
type Limits struct{ Bytes, Messages int }

// Dial opens a socket.
type Dial func() (Wire, Limits, error)

// Dialer returns a Dial for sockets of a netlink protocol (unix.NETLINK_ROUTE and so on) in the calling thread's network
// namespace. It stays in the namespace of its first socket: in another one it fails with dataplane.ErrUnavailable.
func Dialer(protocol int) Dial {
	var home uint64
	return func() (Wire, Limits, error) {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
		if err != nil {
			return nil, Limits{}, fmt.Errorf("open a netlink socket: %w", err)
		}
		s := &Socket{fd}
		limits, err := s.prepare()
		if err == nil {
			err = s.stayIn(&home)
		}
		if err != nil {
			_ = s.Close()
			return nil, Limits{}, fmt.Errorf("prepare a netlink socket: %w", err)
		}
		return s, limits, nil
	}
}

// Socket is the wire to the kernel of the network namespace it was opened in.
type Socket struct{ fd int }

// FD returns the file descriptor, for socket options.
func (s *Socket) FD() int { return s.fd }

func (s *Socket) prepare() (Limits, error) {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return Limits{}, fmt.Errorf("bind: %w", err)
	}
	// Refusals come without a copy of the request (Linux 4.3), and with an explanation (4.12). Earlier kernels lack the
	// options, and nothing depends on them.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		// Not allowed: take what the host's limit gives. The size of the sends follows it.
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	receive, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return Limits{}, fmt.Errorf("read SO_RCVBUF: %w", err)
	}
	send, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return Limits{}, fmt.Errorf("read SO_SNDBUF: %w", err)
	}
	return Limits{Bytes: min(sendBytes, send-64), Messages: max(1, receive/answerBytes)}, nil
}

// stayIn compares the socket's network namespace with the one at home, if there is one yet. Kernels before 5.14 do not
// tell.
func (s *Socket) stayIn(home *uint64) error {
	cookie, err := unix.GetsockoptUint64(s.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return nil
	}
	if *home != 0 && *home != cookie {
		return fmt.Errorf("%w: the socket was lost, and the thread is in another network namespace now", dataplane.ErrUnavailable)
	}
	*home = cookie
	return nil
}

// Send hands a datagram to the kernel.
func (s *Socket) Send(b []byte) error {
	return unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// Receive reads a datagram of the kernel's. Other processes may send to this socket too; they are not listened to.
func (s *Socket) Receive(b []byte) (int, error) {
	for {
		n, _, flags, from, err := unix.Recvmsg(s.fd, b, nil, unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		sender, ok := from.(*unix.SockaddrNetlink)
		if !ok {
			return 0, fmt.Errorf("receive: %w", io.ErrUnexpectedEOF) // no netlink socket ends; this one is none any more
		}
		if sender.Pid != 0 {
			continue
		}
		if flags&unix.MSG_TRUNC != 0 {
			return 0, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, len(b))
		}
		return n, nil
	}
}

// Close closes the socket.
func (s *Socket) Close() error { return unix.Close(s.fd) }
