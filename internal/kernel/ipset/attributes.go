package ipset

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

const (
	nlHeaderLen   = unix.NLMSG_HDRLEN
	nfHeaderLen   = 4 // struct nfgenmsg: family, version, resource id
	attrHeaderLen = unix.NLA_HDRLEN
)

// errMalformed: a reply does not follow the protocol.
var errMalformed = errors.New("malformed reply from the kernel")

// encoder appends netlink messages and attributes to a buffer.
type encoder struct{ b []byte }

// message appends one ipset message whose attributes body writes.
func (e *encoder) message(command uint8, flags uint16, seq uint32, body func(*encoder)) {
	start := len(e.b)
	e.b = append(e.b, make([]byte, nlHeaderLen+nfHeaderLen)...)
	e.b[start+nlHeaderLen] = unix.AF_INET // not looked at; what the ipset tool sends
	body(e)
	header := e.b[start:]
	binary.NativeEndian.PutUint32(header[0:], uint32(len(header)))
	binary.NativeEndian.PutUint16(header[4:], unix.NFNL_SUBSYS_IPSET<<8|uint16(command))
	binary.NativeEndian.PutUint16(header[6:], flags)
	binary.NativeEndian.PutUint32(header[8:], seq)
}

// attribute appends an attribute's header and returns where it starts; end completes it.
func (e *encoder) attribute(kind uint16) int {
	start := len(e.b)
	e.b = append(e.b, 0, 0, 0, 0)
	binary.NativeEndian.PutUint16(e.b[start+2:], kind)
	return start
}

func (e *encoder) end(start int) {
	binary.NativeEndian.PutUint16(e.b[start:], uint16(len(e.b)-start))
	for len(e.b)%unix.NLA_ALIGNTO != 0 {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) nested(kind uint16) int { return e.attribute(kind | unix.NLA_F_NESTED) }

func (e *encoder) text(kind uint16, value string) {
	start := e.attribute(kind)
	e.b = append(append(e.b, value...), 0)
	e.end(start)
}

func (e *encoder) uint8(kind uint16, value uint8) {
	start := e.attribute(kind)
	e.b = append(e.b, value)
	e.end(start)
}

// The kernel refuses numbers of several bytes that are not marked as being in network byte order.

func (e *encoder) uint16(kind, value uint16) {
	start := e.attribute(kind | unix.NLA_F_NET_BYTEORDER)
	e.b = binary.BigEndian.AppendUint16(e.b, value)
	e.end(start)
}

func (e *encoder) uint32(kind uint16, value uint32) {
	start := e.attribute(kind | unix.NLA_F_NET_BYTEORDER)
	e.b = binary.BigEndian.AppendUint32(e.b, value)
	e.end(start)
}

func (e *encoder) uint64(kind uint16, value uint64) {
	start := e.attribute(kind | unix.NLA_F_NET_BYTEORDER)
	e.b = binary.BigEndian.AppendUint64(e.b, value)
	e.end(start)
}

// eachAttribute calls visit for every attribute in b, with the flag bits taken off its kind.
func eachAttribute(b []byte, visit func(kind uint16, value []byte) error) error {
	for len(b) > 0 {
		if len(b) < attrHeaderLen {
			return errMalformed
		}
		length := int(binary.NativeEndian.Uint16(b))
		if length < attrHeaderLen || length > len(b) {
			return errMalformed
		}
		kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if err := visit(kind, b[attrHeaderLen:length]); err != nil {
			return err
		}
		b = b[min(alignUp(length), len(b)):]
	}
	return nil
}

// reply is one netlink message from the kernel.
type reply struct {
	kind    uint16 // nlmsg_type
	flags   uint16
	seq     uint32
	payload []byte // what follows the netlink header
}

// eachReply calls visit for every message in a datagram.
func eachReply(b []byte, visit func(reply) error) error {
	for len(b) >= nlHeaderLen {
		length := int(binary.NativeEndian.Uint32(b))
		if length < nlHeaderLen || length > len(b) {
			return errMalformed
		}
		err := visit(reply{
			kind:    binary.NativeEndian.Uint16(b[4:]),
			flags:   binary.NativeEndian.Uint16(b[6:]),
			seq:     binary.NativeEndian.Uint32(b[8:]),
			payload: b[nlHeaderLen:length],
		})
		if err != nil {
			return err
		}
		b = b[min(alignUp(length), len(b)):]
	}
	if len(b) > 0 {
		return errMalformed
	}
	return nil
}

// alignUp rounds up to the alignment of both messages and attributes, which is 4.
func alignUp(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// code returns the number in an acknowledgement, an error or the end of a dump, as a positive errno or ipset code; 0 is success.
func (r reply) code() (int, error) {
	if len(r.payload) < 4 {
		if r.kind == unix.NLMSG_DONE {
			return 0, nil
		}
		return 0, errMalformed
	}
	return -int(int32(binary.NativeEndian.Uint32(r.payload))), nil
}

// attributes returns the attributes of an ipset message.
func (r reply) attributes() ([]byte, error) {
	if r.kind>>8 != unix.NFNL_SUBSYS_IPSET || len(r.payload) < nfHeaderLen {
		return nil, errMalformed
	}
	return r.payload[nfHeaderLen:], nil
}
