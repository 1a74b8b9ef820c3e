package ipvs

import (
	"encoding/binary"
	"fmt"

	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// begin appends the headers of a generic-netlink request to a family.
func begin(b []byte, family uint16, command uint8, flags uint16) []byte {
	return append(nlbatch.Begin(b, family, flags), command, familyVersion, 0, 0)
}

// genericBody returns the attributes of a generic-netlink message's payload.
func genericBody(payload []byte) ([]byte, error) {
	if len(payload) < genericHeader {
		return nil, fmt.Errorf("%w: %d bytes are no generic-netlink header", nlbatch.ErrMalformed, len(payload))
	}
	return payload[genericHeader:], nil
}

func uint16Of(kind uint16, data []byte) (uint16, error) {
	if len(data) != 2 {
		return 0, fmt.Errorf("%w: attribute %d has %d bytes, not 2", nlbatch.ErrMalformed, kind, len(data))
	}
	return binary.NativeEndian.Uint16(data), nil
}

func uint32Of(kind uint16, data []byte) (uint32, error) {
	if len(data) != 4 {
		return 0, fmt.Errorf("%w: attribute %d has %d bytes, not 4", nlbatch.ErrMalformed, kind, len(data))
	}
	return binary.NativeEndian.Uint32(data), nil
}

func portOf(kind uint16, data []byte) (uint16, error) {
	if len(data) != 2 {
		return 0, fmt.Errorf("%w: port attribute %d has %d bytes, not 2", nlbatch.ErrMalformed, kind, len(data))
	}
	return binary.BigEndian.Uint16(data), nil
}
