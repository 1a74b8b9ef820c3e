package ipvs

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// appendBody appends the attributes of a request about an object: all of them, or for deletions and reads only those
// that identify it. Other objects than virtual servers and members, which validate refuses, have none.
func appendBody(b []byte, object dataplane.Object, full bool) []byte {
	switch x := object.(type) {
	case dataplane.VirtualServer:
		return appendNested(b, attrService, func(b []byte) []byte {
			b = appendKey(b, x.Key)
			if full {
				b = appendServiceState(b, x)
			}
			return b
		})
	case dataplane.Member:
		b = appendService(b, x.VirtualServer)
		return appendNested(b, attrDest, func(b []byte) []byte {
			b = appendBytes(b, destAddr, x.Addr.Addr().AsSlice())
			b = appendPort(b, destPort, x.Addr.Port())
			if full {
				b = appendDestState(b, x.RealServer)
			}
			return appendUint16(b, destFamily, addressFamily(dataplane.FamilyOf(x.Addr.Addr())))
		})
	}
	return b
}

// appendService appends a service attribute that only identifies.
func appendService(b []byte, key dataplane.VirtualServerKey) []byte {
	return appendNested(b, attrService, func(b []byte) []byte { return appendKey(b, key) })
}

func appendKey(b []byte, key dataplane.VirtualServerKey) []byte {
	b = appendUint16(b, svcFamily, addressFamily(key.Family))
	if key.Mark != 0 {
		return appendUint32(b, svcMark, key.Mark)
	}
	b = appendUint16(b, svcProtocol, uint16(key.Protocol))
	b = appendBytes(b, svcAddr, key.Addr.AsSlice())
	return appendPort(b, svcPort, key.Port)
}

func appendServiceState(b []byte, v dataplane.VirtualServer) []byte {
	b = appendHead(b, svcScheduler, len(v.Scheduler)+1)
	b = append(b, v.Scheduler...)
	b = append(b, make([]byte, align(len(v.Scheduler)+1)-len(v.Scheduler))...)
	// All flags are given; the kernel puts its own back.
	b = appendHead(b, svcFlags, 8)
	b = binary.NativeEndian.AppendUint32(b, uint32(v.Flags)&^flagHashed)
	b = binary.NativeEndian.AppendUint32(b, math.MaxUint32)
	b = appendUint32(b, svcTimeout, v.Timeout)
	return appendNetmask(b, v.Key.Family, v.MaskBits)
}

func appendDestState(b []byte, r dataplane.RealServer) []byte {
	b = appendUint32(b, destForwarding, uint32(r.Forwarding))
	b = appendUint32(b, destWeight, r.Weight)
	b = appendUint32(b, destUpper, 0)
	return appendUint32(b, destLower, 0)
}

// appendTimeouts appends the attributes of SET_CONFIG. The kernel keeps its value where it is given 0 seconds.
func appendTimeouts(b []byte, tcp, tcpFin, udp uint32) []byte {
	b = appendUint32(b, attrTimeoutTCP, tcp)
	b = appendUint32(b, attrTimeoutTCPFin, tcpFin)
	return appendUint32(b, attrTimeoutUDP, udp)
}

// addressFamily returns AF_INET or AF_INET6.
func addressFamily(family dataplane.Family) uint16 {
	if family == dataplane.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// appendNetmask encodes a prefix length of at most family.Bits() as IPVS has it.
func appendNetmask(b []byte, family dataplane.Family, bits uint8) []byte {
	b = appendHead(b, svcNetmask, 4)
	if family == dataplane.IPv6 {
		return binary.NativeEndian.AppendUint32(b, uint32(bits))
	}
	return binary.BigEndian.AppendUint32(b, ^uint32(0)<<(32-bits))
}
