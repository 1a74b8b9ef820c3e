package ipvs

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const (
	sendBytes     = 200 << 10 // less than the default wmem, so that it needs no privilege
	receiveBuffer = 4 << 20
	answerBytes   = 2048     // no acknowledgement takes more of the receive buffer (the kernel charges under 1 KiB)
	datagramBytes = 64 << 10 // the kernel makes dump answers of at most 32 KiB
)

// wire is a netlink socket. Receive never waits: with nothing there it fails with EAGAIN.
type wire interface {
	Send([]byte) error
	Receive([]byte) (int, error)
	Close() error
}

// limits of a send, so that the socket takes it and has room for a refusal of every message in it.
type limits struct{ bytes, messages int }

// socket is the wire to the kernel of the network namespace it was opened in.
type socket struct{ fd int }

// openSocket opens a generic-netlink socket in the calling thread's network namespace.
func openSocket() (wire, limits, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, limits{}, fmt.Errorf("open a netlink socket: %w", err)
	}
	s := &socket{fd}
	lim, err := s.prepare()
	if err != nil {
		_ = s.Close()
		return nil, limits{}, fmt.Errorf("prepare a netlink socket: %w", err)
	}
	return s, lim, nil
}

func (s *socket) prepare() (limits, error) {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return limits{}, fmt.Errorf("bind: %w", err)
	}
	// Without it a refusal carries the whole request back.
	if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		return limits{}, fmt.Errorf("set NETLINK_CAP_ACK: %w", err)
	}
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		// Not allowed: take what the host's limit gives. The size of the sends follows it.
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	receive, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return limits{}, fmt.Errorf("read SO_RCVBUF: %w", err)
	}
	send, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return limits{}, fmt.Errorf("read SO_SNDBUF: %w", err)
	}
	return limits{bytes: min(sendBytes, send-64), messages: max(1, receive/answerBytes)}, nil
}

func (s *socket) Send(b []byte) error {
	return unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// Receive reads a datagram of the kernel's. Other processes may send to this socket too; they are not listened to.
func (s *socket) Receive(b []byte) (int, error) {
	for {
		n, _, flags, from, err := unix.Recvmsg(s.fd, b, nil, unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return 0, fmt.Errorf("receive: %w", io.ErrUnexpectedEOF) // no netlink socket ends; this one is none any more
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue
		}
		if flags&unix.MSG_TRUNC != 0 {
			return 0, fmt.Errorf("%w: longer than %d bytes", errMalformed, len(b))
		}
		return n, nil
	}
}

func (s *socket) Close() error { return unix.Close(s.fd) }
