package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// VirtualServerKey identifies an IPVS virtual server: by protocol, address and port, or by firewall mark and family.
type VirtualServerKey struct {
	Addr     netip.Addr // zero for a firewall-mark virtual server
	Port     uint16
	Protocol Protocol // zero for a firewall-mark virtual server
	Family   Family   // always set; for an address key the address's own family
	Mark     uint32   // firewall mark; zero for an address key
}

// KeyOf returns the key of the virtual server at an address and port.
func KeyOf(protocol Protocol, addr netip.Addr, port uint16) VirtualServerKey {
	return VirtualServerKey{Addr: addr, Port: port, Protocol: protocol, Family: FamilyOf(addr)}
}

// MarkKeyOf returns the key of a firewall-mark virtual server.
func MarkKeyOf(family Family, mark uint32) VirtualServerKey {
	return VirtualServerKey{Family: family, Mark: mark}
}

// String returns the key as ipvsadm's arguments, for example "-t 10.96.0.1:443" or "-f 17 -6".
func (k VirtualServerKey) String() string {
	if k.Mark != 0 {
		if k.Family == IPv6 {
			return fmt.Sprintf("-f %d -6", k.Mark)
		}
		return fmt.Sprintf("-f %d", k.Mark)
	}
	flag := map[Protocol]string{TCP: "-t", UDP: "-u", SCTP: "--sctp-service"}[k.Protocol]
	if flag == "" {
		flag = k.Protocol.String()
	}
	return flag + " " + netip.AddrPortFrom(k.Addr, k.Port).String()
}

// Compare orders keys by family, address, port, protocol and mark, for stable output.
func (k VirtualServerKey) Compare(o VirtualServerKey) int {
	return cmp.Or(cmp.Compare(k.Family, o.Family), k.Addr.Compare(o.Addr), cmp.Compare(k.Port, o.Port),
		cmp.Compare(k.Protocol, o.Protocol), cmp.Compare(k.Mark, o.Mark))
}

// ServiceFlags are the IP_VS_SVC_F_* bits of include/uapi/linux/ip_vs.h, without IP_VS_SVC_F_HASHED (0x2), which the
// kernel sets by itself.
type ServiceFlags uint32

// The flags that can be asked for. What the scheduler flags mean depends on the scheduler: for sh and mh the first is
// the fall-back to another server when the chosen one has weight 0, the second mixes the source port into the hash.
const (
	FlagPersistent ServiceFlags = 0x1
	FlagOnePacket  ServiceFlags = 0x4
	FlagSched1     ServiceFlags = 0x8
	FlagSched2     ServiceFlags = 0x10
	FlagSched3     ServiceFlags = 0x20

	// FlagFallback is FlagSched1 as sh and mh read it.
	FlagFallback = FlagSched1
	// FlagHashPort is FlagSched2 as sh and mh read it.
	FlagHashPort = FlagSched2
)

// schedulerFlags returns the names ipvsadm prints for the scheduler flags that are set.
func (f ServiceFlags) schedulerFlags(scheduler string) string {
	names := [3]string{"flag-1", "flag-2", "flag-3"}
	if scheduler == "sh" || scheduler == "mh" {
		names[0], names[1] = scheduler+"-fallback", scheduler+"-port"
	}
	var set []string
	for i, flag := range []ServiceFlags{FlagSched1, FlagSched2, FlagSched3} {
		if f&flag != 0 {
			set = append(set, names[i])
		}
	}
	return strings.Join(set, ",")
}

// VirtualServer is one IPVS virtual server without its real servers. It is comparable: two equal values are the same
// kernel object in the same state.
type VirtualServer struct {
	Key       VirtualServerKey
	Scheduler string // kernel name, for example "rr"
	Flags     ServiceFlags
	Timeout   uint32 // persistence timeout in seconds; 0 unless FlagPersistent is set
	MaskBits  uint8  // persistence granularity as a prefix length; 32 or 128 keeps every client address apart
}

// String returns the line of `ipvsadm -Sn` for the virtual server.
func (v VirtualServer) String() string { return "-A " + v.arguments() }

func (v VirtualServer) arguments() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s -s %s", v.Key, v.Scheduler)
	if v.Flags&FlagPersistent != 0 {
		fmt.Fprintf(&b, " -p %d", v.Timeout)
		if int(v.MaskBits) != v.Key.Family.Bits() {
			fmt.Fprintf(&b, " -M %s", maskString(v.Key.Family, v.MaskBits))
		}
	}
	if v.Flags&FlagOnePacket != 0 {
		b.WriteString(" -o")
	}
	if flags := v.Flags.schedulerFlags(v.Scheduler); flags != "" {
		b.WriteString(" -b " + flags)
	}
	return b.String()
}

// maskString prints a mask as ipvsadm does: dotted for IPv4, a prefix length for IPv6.
func maskString(family Family, bits uint8) string {
	if family == IPv6 {
		return fmt.Sprint(bits)
	}
	mask := ^uint32(0) << (32 - min(bits, 32))
	return netip.AddrFrom4([4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}).String()
}

// ForwardingMethod says how packets reach a real server: the IP_VS_CONN_F_FWD_MASK values of
// include/uapi/linux/ip_vs.h.
type ForwardingMethod uint8

// The forwarding methods; this proxy programs Masquerade, the others are recognised when somebody else programmed them.
const (
	Masquerade   ForwardingMethod = 0
	LocalNode    ForwardingMethod = 1
	Tunnel       ForwardingMethod = 2
	DirectRoute  ForwardingMethod = 3
	BypassMethod ForwardingMethod = 4
)

// String returns ipvsadm's option for the method.
func (m ForwardingMethod) String() string {
	switch m {
	case Masquerade:
		return "-m"
	case Tunnel:
		return "-i"
	case LocalNode, DirectRoute:
		return "-g"
	}
	return fmt.Sprintf("forwarding-%d", uint8(m))
}

// RealServer is one real server of a virtual server. It is comparable.
type RealServer struct {
	Addr       netip.AddrPort
	Weight     uint32 // 0 while draining
	Forwarding ForwardingMethod
}

// Pool is a virtual server with everything behind it.
//
// As desired state, RealServers are the wanted ones in the order of insertion; Listed and Leaving say what the
// EndpointSlices know about others, which decides how a real server that is no longer wanted goes (see package plan).
// As state read from the kernel, RealServers are all there are, and Listed and Leaving are empty.
type Pool struct {
	VirtualServer
	RealServers []RealServer
	// Listed are servers that a slice still lists, but that are not wanted: they drain without a deadline.
	Listed []netip.AddrPort
	// Leaving are servers, wanted or not, that a slice lists as terminating or not serving: when they vanish from the
	// slices they are gone, and are deleted at once.
	Leaving []netip.AddrPort
	// For are the addresses and ports that the packets with the mark of a firewall-mark virtual server were sent to, all of
	// one protocol; nil for other virtual servers, and where it is not known, as in a snapshot.
	For []VirtualServerKey
	// Reserved is a wish for no virtual server there: a process of the node is to get the packets. Nothing else of such a
	// pool than its key counts. A snapshot has none.
	Reserved bool
}

// Equal reports whether two pools want exactly the same, order included.
func (p Pool) Equal(o Pool) bool {
	return p.VirtualServer == o.VirtualServer && slices.Equal(p.RealServers, o.RealServers) &&
		slices.Equal(p.Listed, o.Listed) && slices.Equal(p.Leaving, o.Leaving) && slices.Equal(p.For, o.For) && p.Reserved == o.Reserved
}

// Member is a real server together with the virtual server it belongs to: the object of an operation.
type Member struct {
	VirtualServer VirtualServerKey
	RealServer
}

// String returns the line of `ipvsadm -Sn` for the real server.
func (m Member) String() string { return "-a " + m.arguments() }

func (m Member) arguments() string {
	return fmt.Sprintf("%s -r %s %s -w %d", m.VirtualServer, m.Addr, m.Forwarding, m.Weight)
}
