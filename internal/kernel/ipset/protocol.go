package ipset

import "kube-ipvs-proxy/internal/dataplane"

// Commands, include/uapi/linux/netfilter/ipset/ip_set.h enum ipset_cmd.
const (
	cmdProtocol uint8 = 1
	cmdCreate   uint8 = 2
	cmdDestroy  uint8 = 3
	cmdSwap     uint8 = 6
	cmdList     uint8 = 7
	cmdAdd      uint8 = 9
	cmdDelete   uint8 = 10
	cmdType     uint8 = 13
)

// Attributes of a command.
const (
	attrProtocol    uint16 = 1
	attrSetName     uint16 = 2
	attrTypeName    uint16 = 3
	attrSetName2    uint16 = 3 // in swap and rename
	attrRevision    uint16 = 4
	attrFamily      uint16 = 5
	attrFlags       uint16 = 6
	attrData        uint16 = 7
	attrEntries     uint16 = 8  // IPSET_ATTR_ADT
	attrProtocolMin uint16 = 10 // in the reply to cmdProtocol
	attrRevisionMin uint16 = 10 // in the reply to cmdType
)

// Attributes inside attrData, of a set or of an entry.
const (
	attrIP        uint16 = 1
	attrPort      uint16 = 4
	attrPortTo    uint16 = 5
	attrTimeout   uint16 = 6
	attrProto     uint16 = 7
	attrCADTFlags uint16 = 8
	attrMarkMask  uint16 = 11
	attrBitmask   uint16 = 12
	attrHashSize  uint16 = 18
	attrMaxElem   uint16 = 19
	attrNetmask   uint16 = 20 // of a set
	attrIP2       uint16 = 20 // of an entry
	attrCIDR2     uint16 = 21
	attrElements  uint16 = 24
	attrReferers  uint16 = 25 // IPSET_ATTR_REFERENCES
	attrSKBMark   uint16 = 27
	attrSKBPrio   uint16 = 28
	attrSKBQueue  uint16 = 29
)

// Attributes inside an address.
const (
	attrIPv4 uint16 = 1
	attrIPv6 uint16 = 2
)

const (
	flagListHeader uint32 = 1 << 2 // in attrFlags: headers without entries

	// In attrCADTFlags.
	flagCounters uint32 = 1 << 3
	flagComment  uint32 = 1 << 4
	flagForceAdd uint32 = 1 << 5
	flagSKBInfo  uint32 = 1 << 6
)

// The protocol versions this package speaks. Version 7 differs in commands that are not used here.
const (
	protocolMin = 6
	protocolMax = 7
)

const maxNameLength = 31 // IPSET_MAXNAMELEN without the NUL

// typeFacts is what the protocol needs to know of a set type.
type typeFacts struct {
	setType dataplane.SetType
	// revision is the one that brought the skbinfo extension (Linux 3.18): the newest whose parameters are used. Later
	// ones only add parameters, and an ipset tool older than a set's revision refuses to list it.
	revision uint8
	module   string // kernel module with the type
}

// knownTypes lists the set types of package dataplane.
func knownTypes() []typeFacts {
	return []typeFacts{
		{dataplane.HashIP, 4, "ip_set_hash_ip"},
		{dataplane.HashIPPort, 5, "ip_set_hash_ipport"},
		{dataplane.HashIPPortIP, 5, "ip_set_hash_ipportip"},
		{dataplane.HashIPPortNet, 7, "ip_set_hash_ipportnet"},
		{dataplane.BitmapPort, 3, "ip_set_bitmap_port"},
	}
}

func factsOf(t dataplane.SetType) (typeFacts, bool) {
	for _, facts := range knownTypes() {
		if facts.setType == t {
			return facts, true
		}
	}
	return typeFacts{}, false
}

// typeNamed returns 0 for a type that is not one of ours.
func typeNamed(name string) dataplane.SetType {
	for _, facts := range knownTypes() {
		if facts.setType.String() == name {
			return facts.setType
		}
	}
	return 0
}
