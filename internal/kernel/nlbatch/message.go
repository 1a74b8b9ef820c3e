package nlbatch

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrMalformed: what was read does not follow the format.
var ErrMalformed = errors.New("malformed netlink message")

// Message is a netlink message from the kernel. Its payload is valid until the function it was handed to returns.
type Message struct {
	Type    uint16 // nlmsg_type
	Flags   uint16 // NLM_F_*
	Seq     uint32 // of the request that it answers
	Payload []byte // what follows struct nlmsghdr
}

// Begin appends the header of a request of a type, with NLM_F_REQUEST and the given flags; what is appended to the result
// is the payload. Length, sequence number and the request for an acknowledgement are put in when it is sent.
func Begin(b []byte, kind, flags uint16) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
}

// complete puts length and sequence number into the message that begins at start and is the last in b, and pads it.
func complete(b []byte, start int, seq uint32) []byte {
	size := len(b) - start
	binary.NativeEndian.PutUint32(b[start:], uint32(size))
	binary.NativeEndian.PutUint32(b[start+8:], seq)
	return pad(b, size)
}

// Marshal returns a request as it is sent by itself, with sequence number 0.
func Marshal(encode func([]byte) []byte) []byte { return marshal(nil, 0, encode) }

// marshal appends a request whose answer has an end: that of a dump, or an acknowledgement.
func marshal(b []byte, seq uint32, encode func([]byte) []byte) []byte {
	b = complete(encode(b), 0, seq)
	if flags := flagsOf(b); flags&unix.NLM_F_DUMP != unix.NLM_F_DUMP {
		setFlags(b, flags|unix.NLM_F_ACK)
	}
	return b
}

func flagsOf(message []byte) uint16 { return binary.NativeEndian.Uint16(message[6:]) }

func setFlags(message []byte, flags uint16) { binary.NativeEndian.PutUint16(message[6:], flags) }

// Next splits the first message off a datagram.
func Next(b []byte) (m Message, rest []byte, err error) {
	if len(b) < unix.NLMSG_HDRLEN {
		return m, nil, fmt.Errorf("%w: %d bytes are no header", ErrMalformed, len(b))
	}
	size := int(binary.NativeEndian.Uint32(b))
	if size < unix.NLMSG_HDRLEN || size > len(b) {
		return m, nil, fmt.Errorf("%w: length %d in a datagram of %d bytes", ErrMalformed, size, len(b))
	}
	m = Message{
		Type:    binary.NativeEndian.Uint16(b[4:]),
		Flags:   flagsOf(b),
		Seq:     binary.NativeEndian.Uint32(b[8:]),
		Payload: b[unix.NLMSG_HDRLEN:size],
	}
	return m, b[min(align(size), len(b)):], nil
}

// ends reports whether nothing follows the message in the answer to a request.
func (m Message) ends() bool { return m.Type == unix.NLMSG_ERROR || m.Type == unix.NLMSG_DONE }
