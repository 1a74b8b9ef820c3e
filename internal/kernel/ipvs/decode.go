package ipvs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// destination is a real server as the kernel describes it.
type destination struct {
	dataplane.RealServer
	connections uint32 // active plus inactive
	active      uint32
}

// serviceFields are the attributes of a service, with a set of those that were there.
type serviceFields struct {
	family, protocol, port uint16
	addr                   []byte
	mark, timeout          uint32
	netmask                []byte
	scheduler              string
	flags                  uint32
	seen                   uint32 // 1<<attribute
}

func (f *serviceFields) has(attributes ...uint16) bool {
	for _, a := range attributes {
		if f.seen&(1<<a) == 0 {
			return false
		}
	}
	return true
}

// decodeService reads the virtual server from the attributes of an answer to GET_SERVICE.
func decodeService(body []byte) (dataplane.VirtualServer, error) {
	var none dataplane.VirtualServer
	fields, err := parseService(body)
	if err != nil {
		return none, err
	}
	key, err := fields.key()
	if err != nil {
		return none, err
	}
	if !fields.has(svcScheduler, svcFlags, svcTimeout, svcNetmask) {
		return none, fmt.Errorf("%w: virtual server %s without scheduler, flags, timeout or netmask", nlbatch.ErrMalformed, key)
	}
	maskBits, err := maskBitsOf(key.Family, fields.netmask)
	if err != nil {
		return none, fmt.Errorf("virtual server %s: %w", key, err)
	}
	return dataplane.VirtualServer{
		Key:       key,
		Scheduler: fields.scheduler,
		Flags:     dataplane.ServiceFlags(fields.flags &^ flagHashed),
		Timeout:   fields.timeout,
		MaskBits:  maskBits,
	}, nil
}

// parseService finds the service attribute among a message's and reads what is in it.
func parseService(body []byte) (serviceFields, error) {
	var fields serviceFields
	nested, found, err := nlbatch.FindAttribute(body, attrService)
	if err != nil {
		return fields, err
	}
	if !found {
		return fields, fmt.Errorf("%w: no service attribute", nlbatch.ErrMalformed)
	}
	return fields, nlbatch.EachAttribute(nested, fields.read)
}

func (f *serviceFields) read(kind uint16, data []byte) (err error) {
	switch kind {
	case svcFamily:
		f.family, err = uint16Of(kind, data)
	case svcProtocol:
		f.protocol, err = uint16Of(kind, data)
	case svcAddr:
		f.addr = data
	case svcPort:
		f.port, err = portOf(kind, data)
	case svcMark:
		f.mark, err = uint32Of(kind, data)
	case svcScheduler:
		f.scheduler, err = stringOf(kind, data)
	case svcFlags:
		if len(data) != 8 {
			return fmt.Errorf("%w: flags of %d bytes, not 8", nlbatch.ErrMalformed, len(data))
		}
		f.flags = binary.NativeEndian.Uint32(data)
	case svcTimeout:
		f.timeout, err = uint32Of(kind, data)
	case svcNetmask:
		f.netmask = data
	default:
		return nil // statistics, persistence engine, and what later kernels add
	}
	f.seen |= 1 << kind
	return err
}

// key returns the identity of the service.
func (f *serviceFields) key() (dataplane.VirtualServerKey, error) {
	var none dataplane.VirtualServerKey
	family, err := familyOf(f.family)
	if err != nil {
		return none, err
	}
	if f.mark != 0 {
		return dataplane.MarkKeyOf(family, f.mark), nil
	}
	if !f.has(svcProtocol, svcAddr, svcPort) || f.protocol == 0 || f.protocol > math.MaxUint8 {
		return none, fmt.Errorf("%w: a service with neither firewall mark nor protocol, address and port", nlbatch.ErrMalformed)
	}
	addr, err := addrOf(family, f.addr)
	if err != nil {
		return none, err
	}
	return dataplane.KeyOf(dataplane.Protocol(f.protocol), addr, f.port), nil
}

// destFields are the attributes of a destination.
type destFields struct {
	family, port     uint16
	addr             []byte
	forwarding       uint32
	weight           uint32
	active, inactive uint32
	seen             uint32
}

// decodeDest reads the real server from the attributes of an answer to GET_DEST for a service of the given family.
func decodeDest(body []byte, service dataplane.Family) (destination, error) {
	var none destination
	nested, found, err := nlbatch.FindAttribute(body, attrDest)
	if err != nil {
		return none, err
	}
	if !found {
		return none, fmt.Errorf("%w: no destination attribute", nlbatch.ErrMalformed)
	}
	fields := destFields{family: addressFamily(service)} // kernels before 3.18 do not say
	if err := nlbatch.EachAttribute(nested, fields.read); err != nil {
		return none, err
	}
	return fields.destination()
}

func (f *destFields) read(kind uint16, data []byte) (err error) {
	switch kind {
	case destFamily:
		f.family, err = uint16Of(kind, data)
	case destAddr:
		f.addr = data
	case destPort:
		f.port, err = portOf(kind, data)
	case destForwarding:
		f.forwarding, err = uint32Of(kind, data)
	case destWeight:
		f.weight, err = uint32Of(kind, data)
	case destActive:
		f.active, err = uint32Of(kind, data)
	case destInactive:
		f.inactive, err = uint32Of(kind, data)
	default:
		return nil // thresholds, statistics, tunnels, and what later kernels add
	}
	f.seen |= 1 << kind
	return err
}

func (f *destFields) destination() (destination, error) {
	const need = 1<<destAddr | 1<<destPort | 1<<destForwarding | 1<<destWeight
	if f.seen&need != need {
		return destination{}, fmt.Errorf("%w: a real server without address, port, forwarding method or weight", nlbatch.ErrMalformed)
	}
	family, err := familyOf(f.family)
	if err != nil {
		return destination{}, err
	}
	addr, err := addrOf(family, f.addr)
	if err != nil {
		return destination{}, err
	}
	return destination{
		RealServer: dataplane.RealServer{
			Addr:       netip.AddrPortFrom(addr, f.port),
			Weight:     f.weight,
			Forwarding: dataplane.ForwardingMethod(f.forwarding & forwardingMask),
		},
		connections: f.active + f.inactive,
		active:      f.active,
	}, nil
}

// decodeTimeouts reads the answer to GET_CONFIG, in seconds. A protocol that the kernel was built without reads as 0.
func decodeTimeouts(body []byte) (seconds [3]uint32, err error) {
	err = nlbatch.EachAttribute(body, func(kind uint16, data []byte) (err error) {
		if kind >= attrTimeoutTCP && kind <= attrTimeoutUDP {
			seconds[kind-attrTimeoutTCP], err = uint32Of(kind, data)
		}
		return err
	})
	return seconds, err
}

func familyOf(number uint16) (dataplane.Family, error) {
	switch number {
	case unix.AF_INET:
		return dataplane.IPv4, nil
	case unix.AF_INET6:
		return dataplane.IPv6, nil
	}
	return 0, fmt.Errorf("%w: address family %d is neither IPv4 nor IPv6", nlbatch.ErrMalformed, number)
}

// addrOf reads an address from a union nf_inet_addr, or from as much of it as the family needs.
func addrOf(family dataplane.Family, data []byte) (netip.Addr, error) {
	size := family.Bits() / 8
	if len(data) < size {
		return netip.Addr{}, fmt.Errorf("%w: an %s address of %d bytes", nlbatch.ErrMalformed, family, len(data))
	}
	addr, _ := netip.AddrFromSlice(data[:size]) // 4 and 16 bytes always do
	return addr, nil
}

// maskBitsOf reads a netmask as a prefix length. Somebody else's IPv4 mask with holes, which the kernel accepts, reads
// as the length of its leading ones.
func maskBitsOf(family dataplane.Family, data []byte) (uint8, error) {
	if len(data) != 4 {
		return 0, fmt.Errorf("%w: netmask of %d bytes, not 4", nlbatch.ErrMalformed, len(data))
	}
	if family == dataplane.IPv4 {
		return uint8(bits.LeadingZeros32(^binary.BigEndian.Uint32(data))), nil
	}
	length := binary.NativeEndian.Uint32(data)
	if length > 128 {
		return 0, fmt.Errorf("%w: IPv6 prefix length %d", nlbatch.ErrMalformed, length)
	}
	return uint8(length), nil
}

func stringOf(kind uint16, data []byte) (string, error) {
	end := bytes.IndexByte(data, 0)
	if end < 0 {
		return "", fmt.Errorf("%w: string attribute %d does not end", nlbatch.ErrMalformed, kind)
	}
	return string(data[:end]), nil
}
