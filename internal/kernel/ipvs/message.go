package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errMalformed: what was read does not follow the format.
var errMalformed = errors.New("malformed netlink message")

// header is the part of struct nlmsghdr that matters here; the kernel fills in the port number by itself.
type header struct {
	kind  uint16 // a family, or NLMSG_*
	flags uint16
	seq   uint32
}

// beginMessage appends the headers of a generic-netlink message. endMessage completes them.
func beginMessage(b []byte, h header, command uint8) []byte {
	b = append(b, 0, 0, 0, 0) // the length
	b = binary.NativeEndian.AppendUint16(b, h.kind)
	b = binary.NativeEndian.AppendUint16(b, h.flags)
	b = binary.NativeEndian.AppendUint32(b, h.seq)
	b = append(b, 0, 0, 0, 0) // the port number
	return append(b, command, familyVersion, 0, 0)
}

// endMessage writes the length of the message that began at start and that is the last in b.
func endMessage(b []byte, start int) []byte {
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

func align(n int) int { return (n + 3) &^ 3 }

// appendHead appends the header of an attribute with size bytes of data.
func appendHead(b []byte, kind uint16, size int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attributeHeader+size))
	return binary.NativeEndian.AppendUint16(b, kind)
}

// appendBytes appends an attribute and pads it to the next multiple of four.
func appendBytes(b []byte, kind uint16, data []byte) []byte {
	b = append(appendHead(b, kind, len(data)), data...)
	return append(b, make([]byte, align(len(data))-len(data))...)
}

func appendUint16(b []byte, kind, value uint16) []byte {
	b = binary.NativeEndian.AppendUint16(appendHead(b, kind, 2), value)
	return append(b, 0, 0)
}

func appendUint32(b []byte, kind uint16, value uint32) []byte {
	return binary.NativeEndian.AppendUint32(appendHead(b, kind, 4), value)
}

func appendPort(b []byte, kind, port uint16) []byte {
	b = binary.BigEndian.AppendUint16(appendHead(b, kind, 2), port)
	return append(b, 0, 0)
}

// appendNested appends an attribute that holds the attributes that fill appends. Like the tools of IPVS it leaves
// NLA_F_NESTED out, which no kernel asks for here.
func appendNested(b []byte, kind uint16, fill func([]byte) []byte) []byte {
	start := len(b)
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = fill(b)
	binary.NativeEndian.PutUint16(b[start:], uint16(len(b)-start))
	return b
}

// nextMessage splits the first message off a datagram.
func nextMessage(b []byte) (h header, payload, rest []byte, err error) {
	if len(b) < netlinkHeader {
		return h, nil, nil, fmt.Errorf("%w: %d bytes are no header", errMalformed, len(b))
	}
	size := int(binary.NativeEndian.Uint32(b))
	if size < netlinkHeader || size > len(b) {
		return h, nil, nil, fmt.Errorf("%w: length %d in a datagram of %d bytes", errMalformed, size, len(b))
	}
	h.kind = binary.NativeEndian.Uint16(b[4:])
	h.flags = binary.NativeEndian.Uint16(b[6:])
	h.seq = binary.NativeEndian.Uint32(b[8:])
	return h, b[netlinkHeader:size], b[min(align(size), len(b)):], nil
}

// genericBody returns the attributes of a generic-netlink message's payload.
func genericBody(payload []byte) ([]byte, error) {
	if len(payload) < genericHeader {
		return nil, fmt.Errorf("%w: %d bytes are no generic-netlink header", errMalformed, len(payload))
	}
	return payload[genericHeader:], nil
}

// eachAttribute calls visit for every attribute in b, flags of the type removed, until visit fails.
func eachAttribute(b []byte, visit func(kind uint16, data []byte) error) error {
	for len(b) > 0 {
		if len(b) < attributeHeader {
			return fmt.Errorf("%w: %d bytes after the last attribute", errMalformed, len(b))
		}
		size := int(binary.NativeEndian.Uint16(b))
		kind := binary.NativeEndian.Uint16(b[2:]) & attributeMask
		if size < attributeHeader || size > len(b) {
			return fmt.Errorf("%w: attribute %d of length %d in %d bytes", errMalformed, kind, size, len(b))
		}
		if err := visit(kind, b[attributeHeader:size]); err != nil {
			return err
		}
		b = b[min(align(size), len(b)):]
	}
	return nil
}

// findAttribute returns the data of the first attribute of a kind.
func findAttribute(b []byte, wanted uint16) (data []byte, found bool, err error) {
	err = eachAttribute(b, func(kind uint16, value []byte) error {
		if kind == wanted && !found {
			data, found = value, true
		}
		return nil
	})
	return data, found, err
}

func uint16Of(kind uint16, data []byte) (uint16, error) {
	if len(data) != 2 {
		return 0, fmt.Errorf("%w: attribute %d has %d bytes, not 2", errMalformed, kind, len(data))
	}
	return binary.NativeEndian.Uint16(data), nil
}

func uint32Of(kind uint16, data []byte) (uint32, error) {
	if len(data) != 4 {
		return 0, fmt.Errorf("%w: attribute %d has %d bytes, not 4", errMalformed, kind, len(data))
	}
	return binary.NativeEndian.Uint32(data), nil
}

func portOf(kind uint16, data []byte) (uint16, error) {
	if len(data) != 2 {
		return 0, fmt.Errorf("%w: port attribute %d has %d bytes, not 2", errMalformed, kind, len(data))
	}
	return binary.BigEndian.Uint16(data), nil
}

// setFlags replaces the flags of the message that b begins with.
func setFlags(b []byte, flags uint16) { binary.NativeEndian.PutUint16(b[6:], flags) }
