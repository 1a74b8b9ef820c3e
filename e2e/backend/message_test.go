package backend

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
)

// reader reads from a text.
func reader(text string) *bufio.Reader { return bufio.NewReader(strings.NewReader(text)) }

func TestRequestsRoundTrip(t *testing.T) {
	requests := []Request{{}, {Padding: 1}, {ReplyPadding: 9}, {Padding: 100000, ReplyPadding: MaxPadding}}
	var stream []byte
	for _, r := range requests {
		stream = r.Append(stream)
	}
	in := bufio.NewReader(bytes.NewReader(stream))
	for _, want := range requests {
		if got, err := ReadRequest(in); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	if _, err := ReadRequest(in); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: %v, want %v", err, io.EOF)
	}
}

func TestRepliesRoundTrip(t *testing.T) {
	want := Reply{
		Backend:  "pod-a",
		Server:   netip.MustParseAddrPort("10.244.1.2:8080"),
		Client:   netip.MustParseAddrPort("[fd00::1]:40000"),
		Received: 12,
	}
	stream := want.Append(want.Append(nil, 70000), 0)
	in := bufio.NewReader(bytes.NewReader(stream))
	for range 2 {
		if got, err := ReadReply(in); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestMalformedMessages(t *testing.T) {
	for _, text := range []string{
		"x\n", "1\n", "0 0", "-1 0\n", "0 -1\n", "0 99999999999\n", "99999999999 0\n", strings.Repeat("1", maxLine) + " 1\n", strings.Repeat("1", 5000),
	} {
		if got, err := ReadRequest(reader(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("request %.20q: %+v, %v, want %v", text, got, err, ErrMalformed)
		}
	}
	for _, text := range []string{"pod 1.2.3.4:5 1.2.3.4 0 0\n", "pod 1.2.3.4:5\n", "pod 1.2.3.4:5 1.2.3.4:6 0 -1\n"} {
		if got, err := ReadReply(reader(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("reply %q: %+v, %v, want %v", text, got, err, ErrMalformed)
		}
	}
	if _, err := ReadRequest(reader("5 0\n1234")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("padding that ends early: %v, want %v", err, io.ErrUnexpectedEOF)
	}
}
