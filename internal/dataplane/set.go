package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"
)

// SetType is a type of ipset, one of those the proxy uses.
type SetType uint8

// The set types, by ipset's names.
const (
	HashIP        SetType = iota + 1 // hash:ip
	HashIPPort                       // hash:ip,port
	HashIPPortIP                     // hash:ip,port,ip
	HashIPPortNet                    // hash:ip,port,net
	BitmapPort                       // bitmap:port, range 0-65535
)

// String returns ipset's name of the type.
func (t SetType) String() string {
	switch t {
	case HashIP:
		return "hash:ip"
	case HashIPPort:
		return "hash:ip,port"
	case HashIPPortIP:
		return "hash:ip,port,ip"
	case HashIPPortNet:
		return "hash:ip,port,net"
	case BitmapPort:
		return "bitmap:port"
	}
	return fmt.Sprintf("set-type-%d", uint8(t))
}

// The parameters with which kube-proxy creates its sets. A set of the same name with others makes kube-proxy's own
// `create -exist` fail, so they are kept until a set outgrows them.
const (
	DefaultHashSize = 1024
	DefaultMaxElem  = 65536
)

// Set describes one ipset. It is comparable.
type Set struct {
	Name     string // at most 31 bytes
	Type     SetType
	Family   Family // IPv4 for bitmap:port too
	HashSize uint32 // initial buckets; 0 for bitmap:port
	MaxElem  uint32 // capacity; 0 for bitmap:port
	Marks    bool   // entries can carry a packet mark (the skbinfo extension)
}

// String returns the `create` line of `ipset save`.
func (s Set) String() string {
	line := fmt.Sprintf("create %s %s ", s.Name, s.Type)
	if s.Type == BitmapPort {
		line += "range 0-65535"
	} else {
		family := "inet"
		if s.Family == IPv6 {
			family = "inet6"
		}
		line += fmt.Sprintf("family %s hashsize %d maxelem %d", family, s.HashSize, s.MaxElem)
	}
	if s.Marks {
		line += " skbinfo"
	}
	return line
}

// Entry is one entry of a set. Which fields are used depends on the set's type:
//
//	hash:ip           Addr
//	hash:ip,port      Addr, Protocol, Port
//	hash:ip,port,ip   Addr, Protocol, Port, Peer (a single address)
//	hash:ip,port,net  Addr, Protocol, Port, Peer (never /0, which ipset cannot store)
//	bitmap:port       Port
type Entry struct {
	Set      string
	Addr     netip.Addr
	Protocol Protocol
	Port     uint16
	Peer     netip.Prefix
	Mark     uint32 // packet mark carried by the entry, in a set with Marks; not part of the entry's identity
}

// Key returns the entry without what is not its identity.
func (e Entry) Key() Entry {
	e.Mark = 0
	return e
}

// String returns the `add` line of `ipset save`.
func (e Entry) String() string { return "add " + e.arguments() }

func (e Entry) arguments() string {
	line := e.Set + " "
	switch {
	case !e.Addr.IsValid():
		line += fmt.Sprint(e.Port)
	case e.Protocol == 0:
		line += e.Addr.String()
	default:
		line += fmt.Sprintf("%s,%s:%d", e.Addr, e.Protocol, e.Port)
	}
	switch {
	case e.Peer.IsValid() && e.Peer.IsSingleIP():
		line += "," + e.Peer.Addr().String()
	case e.Peer.IsValid():
		line += "," + e.Peer.String()
	}
	if e.Mark != 0 {
		line += fmt.Sprintf(" skbmark 0x%x", e.Mark)
	}
	return line
}

// Compare orders entries by set, address, port, protocol and peer, for stable output.
func (e Entry) Compare(o Entry) int {
	return cmp.Or(cmp.Compare(e.Set, o.Set), e.Addr.Compare(o.Addr), cmp.Compare(e.Port, o.Port),
		cmp.Compare(e.Protocol, o.Protocol), e.Peer.Addr().Compare(o.Peer.Addr()), cmp.Compare(e.Peer.Bits(), o.Peer.Bits()))
}

// Exceptions says which sets hold exceptions of others: the name of each such set with the name of the set that has the
// rule. An entry of the first is of no meaning without the same entry in the second.
type Exceptions map[string]string

// RuleOf returns the entry that another one makes an exception of, if it does.
func (e Exceptions) RuleOf(entry Entry) (Entry, bool) {
	set, ok := e[entry.Set]
	entry.Set = set
	return entry.Key(), ok
}
