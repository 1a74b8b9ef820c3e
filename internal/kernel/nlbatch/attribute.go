package nlbatch

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// kindMask takes NLA_F_NESTED and NLA_F_NET_BYTEORDER off an attribute's type.
const kindMask = 0x3fff

// align rounds up to the alignment of both messages and attributes.
func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// pad appends zeros to something of the given size, up to the alignment.
func pad(b []byte, size int) []byte {
	for range align(size) - size {
		b = append(b, 0)
	}
	return b
}

func appendHead(b []byte, kind uint16, size int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.NLA_HDRLEN+size))
	return binary.NativeEndian.AppendUint16(b, kind)
}

// Bytes appends an attribute. Its type may have flags.
func Bytes(b []byte, kind uint16, value []byte) []byte {
	return pad(append(appendHead(b, kind, len(value)), value...), len(value))
}

// String appends an attribute with a text and the NUL that ends it.
func String(b []byte, kind uint16, value string) []byte {
	b = append(appendHead(b, kind, len(value)+1), value...)
	return pad(append(b, 0), len(value)+1)
}

// Uint8 appends an attribute with a number.
func Uint8(b []byte, kind uint16, value uint8) []byte {
	return append(appendHead(b, kind, 1), value, 0, 0, 0)
}

// Uint16 appends an attribute with a number in the machine's byte order.
func Uint16(b []byte, kind, value uint16) []byte {
	b = binary.NativeEndian.AppendUint16(appendHead(b, kind, 2), value)
	return append(b, 0, 0)
}

// Uint16BE appends an attribute with a number in network byte order.
func Uint16BE(b []byte, kind, value uint16) []byte {
	b = binary.BigEndian.AppendUint16(appendHead(b, kind, 2), value)
	return append(b, 0, 0)
}

// Uint32 appends an attribute with a number in the machine's byte order.
func Uint32(b []byte, kind uint16, value uint32) []byte {
	return binary.NativeEndian.AppendUint32(appendHead(b, kind, 4), value)
}

// Uint32BE appends an attribute with a number in network byte order.
func Uint32BE(b []byte, kind uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHead(b, kind, 4), value)
}

// Uint64BE appends an attribute with a number in network byte order.
func Uint64BE(b []byte, kind uint16, value uint64) []byte {
	return binary.BigEndian.AppendUint64(appendHead(b, kind, 8), value)
}

// Nested appends an attribute that holds the attributes that fill appends. Not every subsystem has NLA_F_NESTED on its
// type: it is the caller's to give.
func Nested(b []byte, kind uint16, fill func([]byte) []byte) []byte {
	start := len(b)
	b = fill(appendHead(b, kind, 0))
	binary.NativeEndian.PutUint16(b[start:], uint16(len(b)-start))
	return b
}

// EachAttribute calls visit for every attribute in b, the flags taken off its type, until visit fails.
func EachAttribute(b []byte, visit func(kind uint16, value []byte) error) error {
	for len(b) > 0 {
		if len(b) < unix.NLA_HDRLEN {
			return fmt.Errorf("%w: %d bytes after the last attribute", ErrMalformed, len(b))
		}
		size := int(binary.NativeEndian.Uint16(b))
		kind := binary.NativeEndian.Uint16(b[2:]) & kindMask
		if size < unix.NLA_HDRLEN || size > len(b) {
			return fmt.Errorf("%w: attribute %d of length %d in %d bytes", ErrMalformed, kind, size, len(b))
		}
		if err := visit(kind, b[unix.NLA_HDRLEN:size]); err != nil {
			return err
		}
		b = b[min(align(size), len(b)):]
	}
	return nil
}

// FindAttribute returns the value of the first attribute of a type.
func FindAttribute(b []byte, wanted uint16) (value []byte, found bool, err error) {
	err = EachAttribute(b, func(kind uint16, data []byte) error {
		if kind == wanted && !found {
			value, found = data, true
		}
		return nil
	})
	return value, found, err
}
