package ipset

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	receiveBufferSize = 1 << 20 // room for the acknowledgements of a batch, which the kernel queues before send returns
	datagramSize      = 1 << 16 // more than the kernel puts into one datagram of a dump
	receiveTimeout    = 10      // seconds; answers are there when send returns, so this ends a wait for a lost one
)

// lostError says that the socket failed, so that it is unknown what the kernel did. The socket must be opened anew; what
// is idempotent can be sent again.
type lostError struct{ cause error }

func (e *lostError) Error() string {
	switch {
	case errors.Is(e.cause, unix.ENOBUFS):
		return "answers of the kernel were lost: " + e.cause.Error()
	case errors.Is(e.cause, unix.EAGAIN):
		return "the kernel did not answer"
	}
	return "netlink socket failed: " + e.cause.Error()
}

func (e *lostError) Unwrap() error { return e.cause }

// socket is an nfnetlink socket. It belongs to the network namespace of the thread that opened it.
type socket struct {
	fd     int
	cookie uint64 // identifies the network namespace; 0 when the kernel does not tell (before Linux 5.14)
	seq    uint32
	buffer []byte
}

func dial() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open an nfnetlink socket: %w", err)
	}
	s := &socket{fd: fd, buffer: make([]byte, datagramSize)}
	if err := s.setUp(); err != nil {
		s.close()
		return nil, fmt.Errorf("set up an nfnetlink socket: %w", err)
	}
	return s, nil
}

func (s *socket) setUp() error {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: receiveTimeout}); err != nil {
		return err
	}
	// Beyond net.core.rmem_max needs CAP_NET_ADMIN in the first user namespace. Without it the batches still fit, because
	// answers that get lost are asked for again.
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBufferSize) != nil {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBufferSize); err != nil {
			return err
		}
	}
	// Errors then come without a copy of the request. Kernels before 4.3 lack the option and lose nothing but memory.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	s.cookie, _ = unix.GetsockoptUint64(s.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// nextSeq returns a number for a request. Those of one batch follow each other.
func (s *socket) nextSeq() uint32 {
	s.seq++
	return s.seq
}

func (s *socket) send(b []byte) error {
	for {
		err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			return lost(err)
		}
	}
}

// receive returns the next datagram from the kernel, valid until the next call.
func (s *socket) receive() ([]byte, error) {
	for {
		n, _, flags, from, err := unix.Recvmsg(s.fd, s.buffer, nil, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, lost(err)
		}
		if flags&unix.MSG_TRUNC != 0 {
			return nil, &lostError{unix.EMSGSIZE}
		}
		if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid != 0 {
			continue // another process wrote to us
		}
		return s.buffer[:n], nil
	}
}

func lost(err error) error {
	if err == nil {
		return nil
	}
	return &lostError{err}
}
