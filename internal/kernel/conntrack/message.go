package conntrack

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// Attributes of include/uapi/linux/netfilter/nfnetlink_conntrack.h that the library does not have, and the bit of
// CTA_FILTER_ORIG_FLAGS (net/netfilter/nf_internals.h) that compares the protocol.
const (
	ctaFilter          = 25
	ctaFilterOrigFlags = 1
	filterProtocol     = 1 << 3

	headerLength = 4 // struct nfgenmsg
)

// tuple is one direction of a connection.
type tuple struct {
	protocol dataplane.Protocol
	from, to netip.AddrPort
}

// entry is a tracked connection.
type entry struct {
	original, reply tuple
	// identity is what a request to delete exactly this entry carries: the attributes original tuple, zone and id.
	identity []byte
}

// parseEntry reads a message of a dump, without its netlink header.
func parseEntry(payload []byte) (entry, error) {
	if len(payload) < headerLength {
		return entry{}, fmt.Errorf("%w: %d bytes", nlbatch.ErrMalformed, len(payload))
	}
	var e entry
	err := nlbatch.EachAttribute(payload[headerLength:], func(kind uint16, value []byte) (err error) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			e.identity = nlbatch.Bytes(e.identity, kind|nl.NLA_F_NESTED, value)
			e.original, err = parseTuple(value)
		case nl.CTA_TUPLE_REPLY:
			e.reply, err = parseTuple(value)
		case nl.CTA_ZONE, nl.CTA_ID:
			e.identity = nlbatch.Bytes(e.identity, kind, value)
		}
		return err
	})
	return e, err
}

func parseTuple(b []byte) (tuple, error) {
	var t tuple
	var from, to netip.Addr
	var fromPort, toPort uint16
	err := nlbatch.EachAttribute(b, func(kind uint16, value []byte) error {
		switch kind {
		case nl.CTA_TUPLE_IP:
			return nlbatch.EachAttribute(value, func(kind uint16, value []byte) error {
				switch kind {
				case nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC:
					from, _ = netip.AddrFromSlice(value)
				case nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST:
					to, _ = netip.AddrFromSlice(value)
				}
				return nil
			})
		case nl.CTA_TUPLE_PROTO:
			return nlbatch.EachAttribute(value, func(kind uint16, value []byte) error {
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

// begin appends the headers of a request.
func begin(b []byte, family dataplane.Family, command, flags uint16) []byte {
	number := byte(unix.AF_INET)
	if family == dataplane.IPv6 {
		number = unix.AF_INET6
	}
	b = nlbatch.Begin(b, unix.NFNL_SUBSYS_CTNETLINK<<8|command, flags)
	return append(b, number, nl.NFNETLINK_V0, 0, 0)
}

// appendFilter appends the attributes that restrict a dump to one protocol.
func appendFilter(b []byte, protocol dataplane.Protocol) []byte {
	b = nlbatch.Nested(b, nl.CTA_TUPLE_ORIG|nl.NLA_F_NESTED, func(b []byte) []byte {
		return nlbatch.Nested(b, nl.CTA_TUPLE_PROTO|nl.NLA_F_NESTED, func(b []byte) []byte {
			return nlbatch.Uint8(b, nl.CTA_PROTO_NUM, uint8(protocol))
		})
	})
	return nlbatch.Nested(b, ctaFilter|nl.NLA_F_NESTED, func(b []byte) []byte {
		return nlbatch.Uint32(b, ctaFilterOrigFlags, filterProtocol)
	})
}
