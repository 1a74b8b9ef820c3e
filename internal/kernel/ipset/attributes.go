package ipset

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

const nfHeaderLen = 4 // struct nfgenmsg: family, version, resource id

// encoder appends attributes to a buffer.
type encoder struct{ b []byte }

// message begins an ipset message in a buffer; its attributes follow.
func (e *encoder) message(b []byte, command uint8, flags uint16, version uint8) {
	e.b = nlbatch.Begin(b, unix.NFNL_SUBSYS_IPSET<<8|uint16(command), flags)
	e.b = append(e.b, unix.AF_INET, 0, 0, 0) // the family is not looked at; what the ipset tool sends
	e.uint8(attrProtocol, version)
}

// nested appends the head of an attribute that holds others, and returns where it starts; end completes it.
func (e *encoder) nested(kind uint16) int {
	start := len(e.b)
	e.b = nlbatch.Bytes(e.b, kind|unix.NLA_F_NESTED, nil)
	return start
}

func (e *encoder) end(start int) {
	binary.NativeEndian.PutUint16(e.b[start:], uint16(len(e.b)-start))
}

func (e *encoder) text(kind uint16, value string) { e.b = nlbatch.String(e.b, kind, value) }
func (e *encoder) uint8(kind uint16, value uint8) { e.b = nlbatch.Uint8(e.b, kind, value) }

// The kernel refuses numbers of several bytes that are not marked as being in network byte order.

func (e *encoder) uint16(kind, value uint16) {
	e.b = nlbatch.Uint16BE(e.b, kind|unix.NLA_F_NET_BYTEORDER, value)
}

func (e *encoder) uint32(kind uint16, value uint32) {
	e.b = nlbatch.Uint32BE(e.b, kind|unix.NLA_F_NET_BYTEORDER, value)
}

func (e *encoder) uint64(kind uint16, value uint64) {
	e.b = nlbatch.Uint64BE(e.b, kind|unix.NLA_F_NET_BYTEORDER, value)
}

// attributesOf returns the attributes of an ipset message.
func attributesOf(m nlbatch.Message) ([]byte, error) {
	if m.Type>>8 != unix.NFNL_SUBSYS_IPSET || len(m.Payload) < nfHeaderLen {
		return nil, fmt.Errorf("%w: type %#x with %d bytes", nlbatch.ErrMalformed, m.Type, len(m.Payload))
	}
	return m.Payload[nfHeaderLen:], nil
}
