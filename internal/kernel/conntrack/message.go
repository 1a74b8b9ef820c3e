package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

var errMalformed = errors.New("malformed conntrack message")

// Attributes of include/uapi/linux/netfilter/nfnetlink_conntrack.h that the library does not have, and the bit of
// CTA_FILTER_ORIG_FLAGS (net/netfilter/nf_internals.h) that compares the protocol.
const (
	ctaFilter          = 25
	ctaFilterOrigFlags = 1
	filterProtocol     = 1 << 3

	headerLength    = 4 // struct nfgenmsg
	attributeHeader = 4
)

// tuple is one direction of a connection.
type tuple struct {
	protocol dataplane.Protocol
	from, to netip.AddrPort
}

// entry is a tracked connection.
type entry struct {
	original, reply tuple
	// identity is what a request to delete exactly this entry carries: its original tuple, zone and id, as received.
	identity []byte
}

// parseEntry reads a message of a dump, without its netlink header.
func parseEntry(payload []byte) (entry, error) {
	if len(payload) < headerLength {
		return entry{}, fmt.Errorf("%w: %d bytes", errMalformed, len(payload))
	}
	var e entry
	err := eachAttribute(payload[headerLength:], func(kind uint16, value, whole []byte) (err error) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			e.identity = append(e.identity, whole...)
			e.original, err = parseTuple(value)
		case nl.CTA_TUPLE_REPLY:
			e.reply, err = parseTuple(value)
		case nl.CTA_ZONE, nl.CTA_ID:
			e.identity = append(e.identity, whole...)
		}
		return err
	})
	return e, err
}

func parseTuple(b []byte) (tuple, error) {
	var t tuple
	var from, to netip.Addr
	var fromPort, toPort uint16
	err := eachAttribute(b, func(kind uint16, value, _ []byte) error {
		switch kind {
		case nl.CTA_TUPLE_IP:
			return eachAttribute(value, func(kind uint16, value, _ []byte) error {
				switch kind {
				case nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC:
					from, _ = netip.AddrFromSlice(value)
				case nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST:
					to, _ = netip.AddrFromSlice(value)
				}
				return nil
			})
		case nl.CTA_TUPLE_PROTO:
			return eachAttribute(value, func(kind uint16, value, _ []byte) error {
				switch {
				case kind == nl.CTA_PROTO_NUM && len(value) >= 1:
					t.protocol = dataplane.Protocol(value[0])
				case kind == nl.CTA_PROTO_SRC_PORT && len(value) >= 2:
					fromPort = binary.BigEndian.Uint16(value)
				case kind == nl.CTA_PROTO_DST_PORT && len(value) >= 2:
					toPort = binary.BigEndian.Uint16(value)
				}
				return nil
			})
		}
		return nil
	})
	t.from, t.to = netip.AddrPortFrom(from, fromPort), netip.AddrPortFrom(to, toPort)
	return t, err
}

// eachAttribute visits the attributes with their payload, and with their whole padded extent.
func eachAttribute(b []byte, visit func(kind uint16, value, whole []byte) error) error {
	for len(b) >= attributeHeader {
		length := int(binary.NativeEndian.Uint16(b))
		if length < attributeHeader || length > len(b) {
			return fmt.Errorf("%w: an attribute of %d in %d bytes", errMalformed, length, len(b))
		}
		padded := min(len(b), (length+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1))
		kind := binary.NativeEndian.Uint16(b[2:]) & nl.NLA_TYPE_MASK
		if err := visit(kind, b[attributeHeader:length], b[:padded]); err != nil {
			return err
		}
		b = b[padded:]
	}
	return nil
}

// appendFilter appends the attributes that restrict a dump to one protocol.
func appendFilter(b []byte, protocol dataplane.Protocol) []byte {
	number := appendAttribute(nil, nl.CTA_PROTO_NUM, []byte{byte(protocol)})
	b = appendAttribute(b, nl.CTA_TUPLE_ORIG|nl.NLA_F_NESTED, appendAttribute(nil, nl.CTA_TUPLE_PROTO|nl.NLA_F_NESTED, number))
	flags := appendAttribute(nil, ctaFilterOrigFlags, binary.NativeEndian.AppendUint32(nil, filterProtocol))
	return appendAttribute(b, ctaFilter|nl.NLA_F_NESTED, flags)
}

func appendAttribute(b []byte, kind uint16, payload []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attributeHeader+len(payload)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, payload...)
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}
