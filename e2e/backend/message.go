package backend

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// MaxPadding bounds the padding of a message over TCP or SCTP, in bytes.
const MaxPadding = 16 << 20

// maxLine bounds a message's line, in bytes.
const maxLine = 512

// ErrMalformed says that what was read is no message of this protocol.
var ErrMalformed = errors.New("malformed message")

// Request asks a backend who it is.
type Request struct {
	// Padding is how many bytes the request carries, and ReplyPadding how many the
	// answer shall carry, besides their lines.
	Padding, ReplyPadding int
}

// Reply is a backend's answer.
type Reply struct {
	// Backend is the name of the server's namespace.
	Backend string
	// Server is the address at which the server got the request, Client the one it
	// came from, as the server saw them.
	Server, Client netip.AddrPort
	// Received is how many bytes of padding reached the server.
	Received int
}

// Append appends the request's bytes.
func (r Request) Append(b []byte) []byte {
	b = fmt.Appendf(b, "%d %d\n", r.Padding, r.ReplyPadding)
	return appendPadding(b, r.Padding)
}

// ReadRequest reads one request. io.EOF means that there is none: the other side closed.
func ReadRequest(reader *bufio.Reader) (Request, error) {
	line, err := readLine(reader)
	if err != nil {
		return Request{}, err
	}
	var r Request
	if _, err := fmt.Sscanf(string(line), "%d %d\n", &r.Padding, &r.ReplyPadding); err != nil {
		return Request{}, fmt.Errorf("%w: request %q: %w", ErrMalformed, line, err)
	}
	if r.ReplyPadding < 0 || r.ReplyPadding > MaxPadding {
		return Request{}, fmt.Errorf("%w: request %q wants an answer of more than %d bytes", ErrMalformed, line, MaxPadding)
	}
	return r, skipPadding(reader, r.Padding)
}

// Append appends the reply's bytes, with padding after its line.
func (r Reply) Append(b []byte, padding int) []byte {
	b = fmt.Appendf(b, "%s %s %s %d %d\n", r.Backend, r.Server, r.Client, r.Received, padding)
	return appendPadding(b, padding)
}

// ReadReply reads one reply and skips its padding.
func ReadReply(reader *bufio.Reader) (Reply, error) {
	line, err := readLine(reader)
	if err != nil {
		return Reply{}, err
	}
	var (
		r              Reply
		server, client string
		padding        int
	)
	if _, err := fmt.Sscanf(string(line), "%s %s %s %d %d\n", &r.Backend, &server, &client, &r.Received, &padding); err != nil {
		return Reply{}, fmt.Errorf("%w: reply %q: %w", ErrMalformed, line, err)
	}
	var serverErr, clientErr error
	r.Server, serverErr = netip.ParseAddrPort(server)
	r.Client, clientErr = netip.ParseAddrPort(client)
	if err := errors.Join(serverErr, clientErr); err != nil {
		return Reply{}, fmt.Errorf("%w: reply %q: %w", ErrMalformed, line, err)
	}
	return r, skipPadding(reader, padding)
}

// readLine reads up to and with the next newline.
func readLine(reader *bufio.Reader) ([]byte, error) {
	line, err := reader.ReadSlice('\n')
	switch {
	case err == nil && len(line) <= maxLine:
		return line, nil
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, io.EOF
	case err == nil || errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: line of more than %d bytes", ErrMalformed, maxLine)
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: line %q has no end", ErrMalformed, line)
	}
	return nil, err
}

func appendPadding(b []byte, n int) []byte {
	return append(b, bytes.Repeat([]byte{'.'}, n)...)
}

func skipPadding(reader *bufio.Reader, n int) error {
	if n < 0 || n > MaxPadding {
		return fmt.Errorf("%w: padding of %d bytes, at most %d are allowed", ErrMalformed, n, MaxPadding)
	}
	if _, err := reader.Discard(n); errors.Is(err, io.EOF) {
		return fmt.Errorf("padding of %d bytes: %w", n, io.ErrUnexpectedEOF)
	} else if err != nil {
		return err
	}
	return nil
}
