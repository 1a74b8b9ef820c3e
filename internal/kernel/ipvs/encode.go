package ipvs

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// appendBody appends the attributes of a request about an object: all of them, or for deletions and reads only those
// that identify it. Other objects than virtual servers and members, which validate refuses, have none.
func appendBody(b []byte, object dataplane.Object, full bool) []byte {
	switch x := object.(type) {
	case dataplane.VirtualServer:
		return nlbatch.Nested(b, attrService, func(b []byte) []byte {
			b = appendKey(b, x.Key)
			if full {
				b = appendServiceState(b, x)
			}
			return b
		})
	case dataplane.Member:
		b = appendService(b, x.VirtualServer)
		return nlbatch.Nested(b, attrDest, func(b []byte) []byte {
			b = nlbatch.Bytes(b, destAddr, x.Addr.Addr().AsSlice())
			b = nlbatch.Uint16BE(b, destPort, x.Addr.Port())
			if full {
				b = appendDestState(b, x.RealServer)
			}
			return nlbatch.Uint16(b, destFamily, addressFamily(dataplane.FamilyOf(x.Addr.Addr())))
		})
	}
	return b
}

// appendService appends a service attribute that only identifies.
func appendService(b []byte, key dataplane.VirtualServerKey) []byte {
	return nlbatch.Nested(b, attrService, func(b []byte) []byte { return appendKey(b, key) })
}

func appendKey(b []byte, key dataplane.VirtualServerKey) []byte {
	b = nlbatch.Uint16(b, svcFamily, addressFamily(key.Family))
	if key.Mark != 0 {
		return nlbatch.Uint32(b, svcMark, key.Mark)
	}
	b = nlbatch.Uint16(b, svcProtocol, uint16(key.Protocol))
	b = nlbatch.Bytes(b, svcAddr, key.Addr.AsSlice())
	return nlbatch.Uint16BE(b, svcPort, key.Port)
}

func appendServiceState(b []byte, v dataplane.VirtualServer) []byte {
	b = nlbatch.String(b, svcScheduler, v.Scheduler)
	var flags [8]byte // value and mask: all flags are given; the kernel puts its own back
	binary.NativeEndian.PutUint32(flags[:], uint32(v.Flags)&^flagHashed)
	binary.NativeEndian.PutUint32(flags[4:], math.MaxUint32)
	b = nlbatch.Bytes(b, svcFlags, flags[:])
	b = nlbatch.Uint32(b, svcTimeout, v.Timeout)
	return appendNetmask(b, v.Key.Family, v.MaskBits)
}

func appendDestState(b []byte, r dataplane.RealServer) []byte {
	b = nlbatch.Uint32(b, destForwarding, uint32(r.Forwarding))
	b = nlbatch.Uint32(b, destWeight, r.Weight)
	b = nlbatch.Uint32(b, destUpper, 0)
	return nlbatch.Uint32(b, destLower, 0)
}

// appendTimeouts appends the attributes of SET_CONFIG. The kernel keeps its value where it is given 0 seconds.
func appendTimeouts(b []byte, tcp, tcpFin, udp uint32) []byte {
	b = nlbatch.Uint32(b, attrTimeoutTCP, tcp)
	b = nlbatch.Uint32(b, attrTimeoutTCPFin, tcpFin)
	return nlbatch.Uint32(b, attrTimeoutUDP, udp)
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
	if family == dataplane.IPv6 {
		return nlbatch.Uint32(b, svcNetmask, uint32(bits))
	}
	return nlbatch.Uint32BE(b, svcNetmask, ^uint32(0)<<(32-bits))
}
