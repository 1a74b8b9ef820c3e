package ipset

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// encodeSet writes what cmdCreate needs beyond the protocol version. The set has passed checkSet.
func encodeSet(e *encoder, set dataplane.Set, revision uint8) {
	e.text(attrSetName, set.Name)
	e.text(attrTypeName, set.Type.String())
	e.uint8(attrRevision, revision)
	e.uint8(attrFamily, familyNumber(set))
	data := e.nested(attrData)
	if set.Type == dataplane.BitmapPort {
		e.uint16(attrPort, 0)
		e.uint16(attrPortTo, 65535)
	} else {
		e.uint32(attrHashSize, set.HashSize)
		e.uint32(attrMaxElem, set.MaxElem)
	}
	if set.Marks {
		e.uint32(attrCADTFlags, flagSKBInfo)
	}
	e.end(data)
}

// familyNumber is the address family of a set on the wire; a bitmap:port has none.
func familyNumber(set dataplane.Set) uint8 {
	switch {
	case set.Type == dataplane.BitmapPort:
		return unix.AF_UNSPEC
	case set.Family == dataplane.IPv6:
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// encodeEntry writes what cmdAdd and cmdDelete need beyond the protocol version. The entry has passed checkEntry.
func encodeEntry(e *encoder, entry dataplane.Entry) {
	e.text(attrSetName, entry.Set)
	data := e.nested(attrData)
	switch {
	case !entry.Addr.IsValid():
		e.uint16(attrPort, entry.Port)
	case entry.Protocol == 0:
		encodeAddr(e, attrIP, entry.Addr)
	default:
		encodeAddr(e, attrIP, entry.Addr)
		e.uint16(attrPort, entry.Port)
		e.uint8(attrProto, uint8(entry.Protocol))
	}
	if entry.Peer.IsValid() {
		encodeAddr(e, attrIP2, entry.Peer.Addr())
		if !entry.Peer.IsSingleIP() {
			e.uint8(attrCIDR2, uint8(entry.Peer.Bits()))
		}
	}
	if entry.Mark != 0 { // without the attribute the kernel stores "no mark", also over an entry that had one
		e.uint64(attrSKBMark, uint64(entry.Mark)<<32|fullMask)
	}
	e.end(data)
}

// fullMask makes the rule that takes the mark from the entry replace the packet's whole mark.
const fullMask = 0xffffffff

func encodeAddr(e *encoder, kind uint16, addr netip.Addr) {
	outer := e.nested(kind)
	inner := attrIPv6
	if addr.Is4() {
		inner = attrIPv4
	}
	e.b = nlbatch.Bytes(e.b, inner|unix.NLA_F_NET_BYTEORDER, addr.AsSlice())
	e.end(outer)
}

// checkSet refuses what the kernel would store differently, or not at all.
func checkSet(set dataplane.Set) error {
	if err := checkName(set.Name); err != nil {
		return err
	}
	if _, known := factsOf(set.Type); !known {
		return invalid("create set %s: unknown type %s", set.Name, set.Type)
	}
	if set.Type == dataplane.BitmapPort {
		return nil
	}
	if set.Family != dataplane.IPv4 && set.Family != dataplane.IPv6 {
		return invalid("create set %s: unknown family %s", set.Name, set.Family)
	}
	if set.HashSize == 0 || set.MaxElem == 0 {
		return invalid("create set %s: hashsize %d and maxelem %d must be above 0", set.Name, set.HashSize, set.MaxElem)
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxNameLength || strings.ContainsRune(name, 0) {
		return invalid("set %q: a name has 1 to %d bytes", name, maxNameLength)
	}
	return nil
}

// checkEntry refuses what does not fit the type of the set. The kernel cannot be asked: it ignores attributes that a type
// does not use, so that a wrong entry would be stored as another one.
func checkEntry(entry dataplane.Entry, t dataplane.SetType) error {
	ports := t == dataplane.HashIPPort || t == dataplane.HashIPPortIP || t == dataplane.HashIPPortNet
	switch {
	case entry.Addr.IsValid() != (t != dataplane.BitmapPort):
		return misfit(t, "the address")
	case (entry.Protocol != 0) != ports:
		return misfit(t, "the protocol")
	case entry.Port != 0 && t == dataplane.HashIP:
		return misfit(t, "the port")
	case entry.Peer != netip.Prefix{} != (t == dataplane.HashIPPortIP || t == dataplane.HashIPPortNet):
		return misfit(t, "the peer")
	case entry.Addr.Zone() != "":
		return unfit("an address in a set has no zone")
	case ports && !hasPorts(entry.Protocol):
		return unfit("the kernel drops the port of protocol %d", uint8(entry.Protocol))
	case entry.Peer == netip.Prefix{}:
		return nil
	}
	return checkPeer(entry, t)
}

func checkPeer(entry dataplane.Entry, t dataplane.SetType) error {
	switch {
	case !entry.Peer.IsValid():
		return unfit("the peer is not a valid prefix")
	case dataplane.FamilyOf(entry.Peer.Addr()) != dataplane.FamilyOf(entry.Addr):
		return unfit("the peer is of another family than the address")
	case t == dataplane.HashIPPortIP && !entry.Peer.IsSingleIP():
		return misfit(t, "a peer of several addresses")
	case entry.Peer.Bits() == 0:
		return unfit("a set cannot hold a prefix of length 0: use two of length 1")
	case entry.Peer.Masked() != entry.Peer:
		return unfit("the prefix has bits beyond its length: use %s", entry.Peer.Masked())
	}
	return nil
}

func hasPorts(p dataplane.Protocol) bool {
	return p == dataplane.TCP || p == dataplane.UDP || p == dataplane.SCTP
}

func misfit(t dataplane.SetType, what string) error {
	return unfit("%s does not fit a set of type %s", what, t)
}

func unfit(format string, arguments ...any) error {
	return fmt.Errorf(format+": %w", append(arguments, dataplane.ErrInvalid)...)
}

func invalid(format string, arguments ...any) error {
	return fmt.Errorf("ipset: "+format+": %w", append(arguments, dataplane.ErrInvalid)...)
}
