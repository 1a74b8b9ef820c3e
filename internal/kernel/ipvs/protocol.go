package ipvs

// Generic netlink and its controller, as in include/uapi/linux/netlink.h and genetlink.h.
const (
	familyName    = "IPVS"
	familyVersion = 1 // IPVS_GENL_VERSION
	genericHeader = 4 // struct genlmsghdr
)

// Commands, IPVS_CMD_*.
const (
	newService uint8 = 1
	setService uint8 = 2
	delService uint8 = 3
	getService uint8 = 4
	newDest    uint8 = 5
	setDest    uint8 = 6
	delDest    uint8 = 7
	getDest    uint8 = 8
	setConfig  uint8 = 12
	getConfig  uint8 = 13
)

// First-level attributes, IPVS_CMD_ATTR_*.
const (
	attrService       uint16 = 1
	attrDest          uint16 = 2
	attrTimeoutTCP    uint16 = 4
	attrTimeoutTCPFin uint16 = 5
	attrTimeoutUDP    uint16 = 6
)

// Attributes of a service, IPVS_SVC_ATTR_*.
const (
	svcFamily    uint16 = 1 // u16, AF_INET or AF_INET6
	svcProtocol  uint16 = 2 // u16
	svcAddr      uint16 = 3 // 4 or 16 bytes to the kernel, 16 from it
	svcPort      uint16 = 4 // u16 in network order
	svcMark      uint16 = 5 // u32
	svcScheduler uint16 = 6 // NUL-terminated
	svcFlags     uint16 = 7 // struct ip_vs_flags: value and mask
	svcTimeout   uint16 = 8 // u32, seconds
	svcNetmask   uint16 = 9 // IPv4: mask in network order; IPv6: prefix length as a native u32
	svcStats     uint16 = 10
	svcStats64   uint16 = 12 // since Linux 4.1
)

// Attributes of statistics, IPVS_STATS_ATTR_*: u64 each in svcStats64; in svcStats the bytes are, and the others u32.
const (
	statsConnections uint16 = 1
	statsInPackets   uint16 = 2
	statsOutPackets  uint16 = 3
	statsInBytes     uint16 = 4
	statsOutBytes    uint16 = 5
)

// Attributes of a destination, IPVS_DEST_ATTR_*.
const (
	destAddr       uint16 = 1
	destPort       uint16 = 2 // u16 in network order
	destForwarding uint16 = 3 // u32
	destWeight     uint16 = 4 // s32
	destUpper      uint16 = 5 // u32
	destLower      uint16 = 6 // u32
	destActive     uint16 = 7 // u32
	destInactive   uint16 = 8 // u32
	destFamily     uint16 = 11
)

const (
	flagHashed     = 0x2 // IP_VS_SVC_F_HASHED: the kernel's own note that the service is in its table
	forwardingMask = 0x7 // IP_VS_CONN_F_FWD_MASK
	schedulerMax   = 15  // IP_VS_SCHEDNAME_MAXLEN without the NUL
)
