package nlbatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	errnoLength   = 4 // of the number that an error message begins with
	attributeText = 1 // NLMSGERR_ATTR_MSG
)

// Refusal is the kernel's own answer to one request, as opposed to an error on the way to the kernel and back.
type Refusal struct {
	Errno unix.Errno // or a code of the subsystem's own, above those of the system
	Text  string     // what the kernel has to say about it (NLMSGERR_ATTR_MSG); mostly empty
}

// Error is the text of the errno, and the kernel's own words.
func (r *Refusal) Error() string {
	if r.Text == "" {
		return r.Errno.Error()
	}
	return fmt.Sprintf("%s: %s", r.Errno.Error(), r.Text)
}

// Unwrap returns the errno.
func (r *Refusal) Unwrap() error { return r.Errno }

// RefusedWith returns the errno of a refusal, and 0 for any other error and for none.
func RefusedWith(err error) unix.Errno {
	if err == nil {
		return 0 // by far the most frequent answer
	}
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Errno
	}
	return 0
}

// status reads the outcome from an acknowledgement or the end of a dump: nil, a Refusal, or with malformed an error that
// says nothing about the request.
func (m Message) status() (outcome, malformed error) {
	if len(m.Payload) < errnoLength {
		if m.Type == unix.NLMSG_DONE {
			return nil, nil // some dumps end without a number
		}
		return nil, fmt.Errorf("%w: an acknowledgement of %d bytes", ErrMalformed, len(m.Payload))
	}
	errno := -int32(binary.NativeEndian.Uint32(m.Payload))
	if errno <= 0 {
		return nil, nil
	}
	return &Refusal{Errno: unix.Errno(errno), Text: m.text()}, nil
}

// text returns the extended acknowledgement's text. It follows the number and, in an error, the request's header (with
// NETLINK_CAP_ACK) or the whole request. What cannot be read is no text.
func (m Message) text() string {
	if m.Flags&unix.NLM_F_ACK_TLVS == 0 {
		return ""
	}
	start := errnoLength
	if m.Type == unix.NLMSG_ERROR {
		start += unix.NLMSG_HDRLEN
		if len(m.Payload) >= start && m.Flags&unix.NLM_F_CAPPED == 0 {
			start = errnoLength + align(int(min(binary.NativeEndian.Uint32(m.Payload[errnoLength:]), 1<<20)))
		}
	}
	if start > len(m.Payload) {
		return ""
	}
	value, _, err := FindAttribute(m.Payload[start:], attributeText)
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(value), "\x00")
}
