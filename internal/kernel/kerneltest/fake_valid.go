package kerneltest

import (
	"fmt"
	"math"
	"net/netip"

	"kube-ipvs-proxy/internal/dataplane"
)

// The checks below are what the kernel, or the driver in front of it, refuses. Where the kernel would accept nonsense
// that cannot mean anything (a timeout without persistence), a Fake is stricter, so that a test finds it.

func invalid(format string, a ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, a...), dataplane.ErrInvalid)
}

func validKey(key dataplane.VirtualServerKey) error {
	if key.Family != dataplane.IPv4 && key.Family != dataplane.IPv6 {
		return invalid("family %d", key.Family)
	}
	if key.Mark != 0 {
		if key.Addr.IsValid() || key.Port != 0 || key.Protocol != 0 {
			return invalid("a firewall-mark virtual server has no address, port or protocol")
		}
		return nil
	}
	if !key.Addr.IsValid() || key.Addr.Is4In6() || key.Addr.Zone() != "" || dataplane.FamilyOf(key.Addr) != key.Family {
		return invalid("address %s is not an %s address", key.Addr, key.Family)
	}
	switch key.Protocol {
	case dataplane.TCP, dataplane.UDP, dataplane.SCTP:
	default:
		return invalid("protocol %s", key.Protocol)
	}
	return nil
}

func validServer(server dataplane.VirtualServer) error {
	const known = dataplane.FlagPersistent | dataplane.FlagOnePacket | dataplane.FlagSched1 | dataplane.FlagSched2 | dataplane.FlagSched3
	if server.MaskBits < 1 || int(server.MaskBits) > server.Key.Family.Bits() {
		return invalid("netmask /%d for %s", server.MaskBits, server.Key.Family)
	}
	if server.Flags&^known != 0 {
		return invalid("flags %#x", server.Flags)
	}
	if server.Timeout != 0 && server.Flags&dataplane.FlagPersistent == 0 {
		return invalid("a timeout without persistence")
	}
	if server.Key.Port == 0 && server.Key.Mark == 0 && server.Flags&dataplane.FlagPersistent == 0 {
		return invalid("port 0 without persistence")
	}
	return nil
}

func validMember(member dataplane.Member) error {
	addr := member.Addr.Addr()
	if member.Weight > math.MaxInt32 {
		return invalid("weight %d", member.Weight)
	}
	if addr.Is4In6() || addr.Zone() != "" || !unicast(addr) || (addr.Is6() && addr.IsLinkLocalUnicast()) {
		return invalid("%s is not a unicast address", addr)
	}
	if dataplane.FamilyOf(addr) != member.VirtualServer.Family && member.Forwarding != dataplane.Tunnel {
		return invalid("a real server of another family needs tunnelling")
	}
	if member.Forwarding > dataplane.BypassMethod {
		return invalid("forwarding method %d", member.Forwarding)
	}
	if member.Addr.Port() == 0 && member.Forwarding == dataplane.Masquerade && member.VirtualServer.Port != 0 {
		return invalid("port 0")
	}
	return nil
}

// unicast reports whether an address can be that of a host. Loopback addresses can.
func unicast(addr netip.Addr) bool {
	return !addr.IsUnspecified() && !addr.IsMulticast() && addr != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func validAddress(addr netip.Addr) error {
	if !addr.IsValid() || addr.Is4In6() || addr.Zone() != "" || !unicast(addr) || addr.IsLoopback() {
		return invalid("%s cannot be bound to the device", addr)
	}
	if addr.Is6() && addr.IsLinkLocalUnicast() {
		return invalid("%s is link-local, which the kernel manages itself", addr)
	}
	return nil
}

// deletableFlows refuses what conntrack clean-up is not for: TCP connections end by themselves.
func deletableFlows(verb dataplane.Verb, flows dataplane.Flows) error {
	switch {
	case verb != dataplane.Delete:
		return invalid("flows can only be deleted")
	case flows.VirtualServer.Mark != 0 || !flows.VirtualServer.Addr.IsValid() || !flows.RealServer.IsValid():
		return invalid("flows need an address on both sides")
	case flows.VirtualServer.Protocol != dataplane.UDP && flows.VirtualServer.Protocol != dataplane.SCTP:
		return invalid("flows of %s are left alone", flows.VirtualServer.Protocol)
	}
	return nil
}

func validEntry(set dataplane.Set, entry dataplane.Entry) error {
	if entry.Mark != 0 && !set.Marks {
		return invalid("set %s carries no marks", set.Name)
	}
	if set.Type == dataplane.BitmapPort {
		if entry.Addr.IsValid() || entry.Protocol != 0 || entry.Peer.IsValid() {
			return invalid("an entry of a %s set is a port alone", set.Type)
		}
		return nil
	}
	if !ofFamily(entry.Addr, set.Family) {
		return invalid("%s is not an %s address", entry.Addr, set.Family)
	}
	if set.Type == dataplane.HashIP {
		if entry.Addr.IsUnspecified() || entry.Port != 0 || entry.Protocol != 0 || entry.Peer.IsValid() {
			return invalid("an entry of a %s set is a specified address alone", set.Type)
		}
		return nil
	}
	switch entry.Protocol {
	case dataplane.TCP, dataplane.UDP, dataplane.SCTP:
	default:
		return invalid("protocol %s", entry.Protocol)
	}
	return validPeer(set, entry.Peer)
}

// validPeer checks the third part of an entry, after address and port.
func validPeer(set dataplane.Set, peer netip.Prefix) error {
	switch {
	case set.Type == dataplane.HashIPPort && peer.IsValid():
		return invalid("an entry of a %s set has no peer", set.Type)
	case set.Type == dataplane.HashIPPort:
		return nil
	case !peer.IsValid() || !ofFamily(peer.Addr(), set.Family):
		return invalid("peer %s is not %s", peer, set.Family)
	case set.Type == dataplane.HashIPPortIP && !peer.IsSingleIP():
		return invalid("peer %s is not a single address", peer)
	case peer.Bits() == 0:
		return invalid("a network of length 0 cannot be stored")
	}
	return nil
}

func ofFamily(addr netip.Addr, family dataplane.Family) bool {
	return addr.IsValid() && !addr.Is4In6() && addr.Zone() == "" && dataplane.FamilyOf(addr) == family
}
