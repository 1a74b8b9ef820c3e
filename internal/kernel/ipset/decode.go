package ipset

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// header is what the kernel says about a set.
type header struct {
	set        dataplane.Set // Type 0 when the type is not one of ours
	typeName   string
	family     uint8 // on the wire
	elements   uint32
	references uint32
	// extras are parameters that no set of ours has, such as "timeout", as ipset spells them.
	extras []string
}

// String describes the kind of the set as in `ipset create`.
func (h header) String() string {
	switch h.family {
	case unix.AF_INET:
		return h.typeName + " family inet"
	case unix.AF_INET6:
		return h.typeName + " family inet6"
	}
	return h.typeName
}

// listed is one message of a dump: a header, entries, or both. A long set takes several messages, of which only the first
// has a type name and the parameters.
type listed struct {
	header  header
	entries []byte // attrData attributes, one for each entry
}

// decodeListed reads the attributes of one message of a dump.
func decodeListed(b []byte) (listed, error) {
	var out listed
	var data []byte
	err := nlbatch.EachAttribute(b, func(kind uint16, value []byte) error {
		switch kind {
		case attrSetName:
			out.header.set.Name = text(value)
		case attrTypeName:
			out.header.typeName = text(value)
		case attrFamily:
			return readUint8(value, &out.header.family)
		case attrData:
			data = value
		case attrEntries:
			out.entries = value
		}
		return nil
	})
	if err != nil {
		return listed{}, err
	}
	if out.header.set.Name == "" {
		return listed{}, fmt.Errorf("%w: set without a name", nlbatch.ErrMalformed)
	}
	out.header.set.Type = typeNamed(out.header.typeName)
	out.header.set.Family = dataplane.IPv4
	if out.header.family == unix.AF_INET6 {
		out.header.set.Family = dataplane.IPv6
	}
	return out, decodeParameters(data, &out.header)
}

// decodeParameters reads the inner attributes of a set.
func decodeParameters(b []byte, h *header) error {
	first, last := uint16(0), uint16(65535)
	err := nlbatch.EachAttribute(b, func(kind uint16, value []byte) error {
		switch kind {
		case attrHashSize:
			return readUint32(value, &h.set.HashSize)
		case attrMaxElem:
			return readUint32(value, &h.set.MaxElem)
		case attrElements:
			return readUint32(value, &h.elements)
		case attrReferers:
			return readUint32(value, &h.references)
		case attrPort:
			return readUint16(value, &first)
		case attrPortTo:
			return readUint16(value, &last)
		case attrTimeout:
			h.extras = append(h.extras, "timeout")
		case attrNetmask:
			h.extras = append(h.extras, "netmask")
		case attrBitmask:
			h.extras = append(h.extras, "bitmask")
		case attrMarkMask:
			h.extras = append(h.extras, "markmask")
		case attrCADTFlags:
			return decodeSetFlags(value, h)
		}
		return nil
	})
	if h.set.Type == dataplane.BitmapPort && (first != 0 || last != 65535) {
		h.extras = append(h.extras, fmt.Sprintf("range %d-%d", first, last))
	}
	return err
}

func decodeSetFlags(value []byte, h *header) error {
	var flags uint32
	if err := readUint32(value, &flags); err != nil {
		return err
	}
	h.set.Marks = flags&flagSKBInfo != 0
	for _, extra := range []struct {
		flag uint32
		name string
	}{{flagCounters, "counters"}, {flagComment, "comment"}, {flagForceAdd, "forceadd"}} {
		if flags&extra.flag != 0 {
			h.extras = append(h.extras, extra.name)
		}
	}
	return nil
}

// ForeignMark is the mark that Entries reports for an entry with something that no entry of ours has: nomatch, a mark
// that covers part of the bits, a priority or a queue. No wanted entry has it, so that a comparison finds such an entry
// to be wrong; adding the wanted one over it puts it right.
const ForeignMark = 0xffffffff

// decodeEntries reads all entries in one message of a dump.
func decodeEntries(b []byte, set string, into []dataplane.Entry) ([]dataplane.Entry, error) {
	err := nlbatch.EachAttribute(b, func(kind uint16, value []byte) error {
		if kind != attrData {
			return nil
		}
		entry, err := decodeEntry(value)
		if err != nil {
			return err
		}
		entry.Set = set
		into = append(into, entry)
		return nil
	})
	return into, err
}

// decodeEntry reads the inner attributes of one entry.
func decodeEntry(b []byte) (dataplane.Entry, error) {
	var entry dataplane.Entry
	var peer netip.Addr
	var bits uint8
	var foreign bool
	err := nlbatch.EachAttribute(b, func(kind uint16, value []byte) (err error) {
		switch kind {
		case attrIP:
			entry.Addr, err = decodeAddr(value)
		case attrPort:
			err = readUint16(value, &entry.Port)
		case attrProto:
			err = readUint8(value, (*uint8)(&entry.Protocol))
		case attrIP2:
			peer, err = decodeAddr(value)
		case attrCIDR2:
			err = readUint8(value, &bits)
		case attrSKBMark:
			entry.Mark, err = decodeMark(value)
		case attrSKBPrio, attrSKBQueue:
			foreign = true
		case attrCADTFlags:
			var flags uint32
			err = readUint32(value, &flags)
			foreign = foreign || flags != 0
		}
		return err
	})
	if err == nil && peer.IsValid() {
		entry.Peer, err = decodePeer(peer, bits)
	}
	if foreign {
		entry.Mark = ForeignMark
	}
	return entry, err
}

// decodePeer makes a prefix. Without a length on the wire it is a single address.
func decodePeer(addr netip.Addr, bits uint8) (netip.Prefix, error) {
	if bits == 0 {
		bits = uint8(addr.BitLen())
	}
	prefix := netip.PrefixFrom(addr, int(bits))
	if !prefix.IsValid() {
		return prefix, fmt.Errorf("%w: prefix length %d", nlbatch.ErrMalformed, bits)
	}
	return prefix, nil
}

// decodeMark reads mark<<32 | mask.
func decodeMark(value []byte) (uint32, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("%w: packet mark of %d bytes", nlbatch.ErrMalformed, len(value))
	}
	full := binary.BigEndian.Uint64(value)
	mark := uint32(full >> 32)
	if uint32(full) != fullMask || mark == 0 { // mark 0 with a full mask takes a packet's mark away: not what no mark does
		return ForeignMark, nil
	}
	return mark, nil
}

func decodeAddr(b []byte) (netip.Addr, error) {
	var addr netip.Addr
	err := nlbatch.EachAttribute(b, func(kind uint16, value []byte) error {
		switch {
		case kind == attrIPv4 && len(value) == 4, kind == attrIPv6 && len(value) == 16:
			addr, _ = netip.AddrFromSlice(value)
			return nil
		}
		return fmt.Errorf("%w: address of kind %d with %d bytes", nlbatch.ErrMalformed, kind, len(value))
	})
	if err == nil && !addr.IsValid() {
		err = fmt.Errorf("%w: empty address", nlbatch.ErrMalformed)
	}
	return addr, err
}

// decodeRange reads two numbers, the newest and the oldest of something; the oldest is the newest when it is missing.
func decodeRange(b []byte, newestKind, oldestKind uint16) (newest, oldest uint8, err error) {
	var hasNewest, hasOldest bool
	err = nlbatch.EachAttribute(b, func(kind uint16, value []byte) error {
		switch kind {
		case newestKind:
			hasNewest = true
			return readUint8(value, &newest)
		case oldestKind:
			hasOldest = true
			return readUint8(value, &oldest)
		}
		return nil
	})
	if err == nil && !hasNewest {
		err = fmt.Errorf("%w: no version", nlbatch.ErrMalformed)
	}
	if !hasOldest {
		oldest = newest
	}
	return newest, oldest, err
}

func text(value []byte) string { return strings.TrimRight(string(value), "\x00") }

func readUint8(value []byte, into *uint8) error {
	if len(value) != 1 {
		return fmt.Errorf("%w: %d bytes where 1 belongs", nlbatch.ErrMalformed, len(value))
	}
	*into = value[0]
	return nil
}

func readUint16(value []byte, into *uint16) error {
	if len(value) != 2 {
		return fmt.Errorf("%w: %d bytes where 2 belong", nlbatch.ErrMalformed, len(value))
	}
	*into = binary.BigEndian.Uint16(value)
	return nil
}

func readUint32(value []byte, into *uint32) error {
	if len(value) != 4 {
		return fmt.Errorf("%w: %d bytes where 4 belong", nlbatch.ErrMalformed, len(value))
	}
	*into = binary.BigEndian.Uint32(value)
	return nil
}
