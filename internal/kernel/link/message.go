package link

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// binding is an address on an interface, as rtnetlink reports it.
type binding struct {
	index  int // of the interface
	prefix netip.Prefix
	peer   bool // point to point: the prefix length is that of the other side
}

// ours reports whether the address, on the device, is one that the proxy may have put there.
func (b binding) ours() bool {
	return b.prefix.IsSingleIP() && !b.peer && !(b.prefix.Addr().Is6() && b.prefix.Addr().IsLinkLocalUnicast())
}

// ofNode reports whether the address, on another interface, is one that clients can reach the node by. Like
// kube-proxy's ipvs mode it counts IPv4 link-local addresses, those of interfaces that are down, and any that lo has
// besides the loopback addresses themselves; unlike that, it leaves multicast memberships out.
func (b binding) ofNode() bool {
	addr := b.prefix.Addr()
	return !addr.IsLoopback() && !addr.IsMulticast() && !addr.IsUnspecified() && !(addr.Is6() && addr.IsLinkLocalUnicast())
}

// appendAddressRequest appends an RTM_NEWADDR or RTM_DELADDR message (struct ifaddrmsg and attributes of
// include/uapi/linux/if_addr.h) for an address with its full prefix.
func appendAddressRequest(b []byte, verb dataplane.Verb, index int, addr netip.Addr) []byte {
	kind, flags := uint16(unix.RTM_NEWADDR), uint16(unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	if verb == dataplane.Delete {
		kind, flags = unix.RTM_DELADDR, 0
	}
	family, addrFlags := byte(unix.AF_INET), byte(0)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	if addr.Is6() && verb != dataplane.Delete {
		// The device has no link: a search for duplicates finds nothing and keeps the address unusable meanwhile.
		addrFlags = unix.IFA_F_NODAD
	}
	b = nlbatch.Begin(b, kind, flags)
	b = append(b, family, byte(addr.BitLen()), addrFlags, unix.RT_SCOPE_UNIVERSE)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = nlbatch.Bytes(b, unix.IFA_LOCAL, addr.AsSlice())
	return nlbatch.Bytes(b, unix.IFA_ADDRESS, addr.AsSlice())
}

// parseAddress reads the payload of an RTM_NEWADDR or RTM_DELADDR message. IPv4 reports the address in IFA_LOCAL, with
// a peer in IFA_ADDRESS; IPv6 in IFA_ADDRESS unless there is a peer.
func parseAddress(payload []byte) (binding, error) {
	if len(payload) < unix.SizeofIfAddrmsg {
		return binding{}, fmt.Errorf("%w: an address in %d bytes", nlbatch.ErrMalformed, len(payload))
	}
	var local, address netip.Addr
	err := nlbatch.EachAttribute(payload[unix.SizeofIfAddrmsg:], func(kind uint16, value []byte) error {
		switch kind {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(value)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(value)
		}
		return nil
	})
	if err != nil {
		return binding{}, err
	}
	if !local.IsValid() {
		local = address
	}
	prefix := netip.PrefixFrom(local, int(payload[1]))
	if !prefix.IsValid() {
		return binding{}, fmt.Errorf("%w: address %q/%d", nlbatch.ErrMalformed, local, payload[1])
	}
	index := int(binary.NativeEndian.Uint32(payload[4:]))
	return binding{index: index, prefix: prefix, peer: address.IsValid() && address != local}, nil
}

// parseLink reads index and name from the payload of an RTM_NEWLINK or RTM_DELLINK message. Messages about something
// else, such as a bridge's port, are not ok.
func parseLink(payload []byte) (index int, name string, ok bool) {
	if len(payload) < unix.SizeofIfInfomsg || payload[0] != unix.AF_UNSPEC {
		return 0, "", false
	}
	err := nlbatch.EachAttribute(payload[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) error {
		if kind == unix.IFLA_IFNAME {
			name = unix.ByteSliceToString(value)
		}
		return nil
	})
	return int(int32(binary.NativeEndian.Uint32(payload[4:]))), name, err == nil && name != ""
}
