package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Ways in which a question fails. The error of a probe wraps one of them and what
// the kernel said.
var (
	// ErrRefused: the other side, or a filter in its name, said that nobody listens: a
	// TCP reset to a SYN, an SCTP ABORT, or ICMP port unreachable.
	ErrRefused = errors.New("refused")
	// ErrTimeout: nothing came back in time.
	ErrTimeout = errors.New("timed out")
	// ErrReset: an established connection was reset.
	ErrReset = errors.New("connection reset")
	// ErrClosed: the other side closed the connection in good order, or this side did.
	ErrClosed = errors.New("connection closed")
	// ErrUnreachable: a router, a filter or this host's own rules said that the
	// packet may not or cannot go there: no route, or an ICMP error other than port unreachable.
	ErrUnreachable = errors.New("unreachable")
)

// classify wraps err in the way of failing that it means. An error that means
// none of them, such as a socket that cannot be made, comes back as it is.
func classify(err error) error {
	for _, class := range classes() {
		for _, cause := range class.causes {
			if errors.Is(err, cause) {
				return fmt.Errorf("%w: %w", class.way, err)
			}
		}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}

// class is a way of failing and the errors that mean it.
type class struct {
	way    error
	causes []error
}

func classes() []class {
	return []class{
		{ErrRefused, []error{syscall.ECONNREFUSED}},
		{ErrReset, []error{syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED}},
		{ErrTimeout, []error{context.DeadlineExceeded, os.ErrDeadlineExceeded, syscall.ETIMEDOUT}},
		{ErrUnreachable, []error{syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EACCES, syscall.EPERM, syscall.ENOPROTOOPT, syscall.EPROTO}},
		{ErrClosed, []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed}},
	}
}
