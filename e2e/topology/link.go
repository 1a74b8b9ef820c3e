package topology

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// linkTimeout bounds each wait for what the kernel does in the background.
	linkTimeout = time.Minute
	// linkInterval is the pause between two looks at it.
	linkInterval = 2 * time.Millisecond
)

// link returns a link of the namespace by name.
func (n *Netns) link(name string) (netlink.Link, error) {
	link, err := n.routes.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("look up link %s of %s: %w", name, n.Name, err)
	}
	return link, nil
}

// setUp turns a link on.
func (n *Netns) setUp(name string) error {
	link, err := n.link(name)
	if err != nil {
		return err
	}
	if err := n.routes.LinkSetUp(link); err != nil {
		return fmt.Errorf("turn on link %s of %s: %w", name, n.Name, err)
	}
	return nil
}

// awaitCarrier waits until the link passes packets: the kernel drops what is
// sent before it has noticed, in the background, that the other end is on.
func (n *Netns) awaitCarrier(name string) error {
	deadline := time.Now().Add(linkTimeout)
	for {
		link, err := n.link(name)
		if err != nil {
			return err
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("link %s of %s is still %s after %v", name, n.Name, link.Attrs().OperState, linkTimeout)
		}
		time.Sleep(linkInterval)
	}
}

// addBridge makes a bridge that forwards every frame at once. Its hardware
// address is fixed, because a bridge otherwise changes it as ports come and go, and
// neighbours that remember the old one lose it.
func (n *Netns) addBridge(name string, hardware net.HardwareAddr) error {
	snooping := false
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.HardwareAddr = name, hardware
	if err := n.routes.LinkAdd(&netlink.Bridge{LinkAttrs: attributes, MulticastSnooping: &snooping}); err != nil {
		return fmt.Errorf("add bridge %s to %s: %w", name, n.Name, err)
	}
	return n.setUp(name)
}

// addVeth makes a pair of links, name in n and peerName in peer, and turns both on.
func (n *Netns) addVeth(name string, peer *Netns, peerName string) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = name
	veth := &netlink.Veth{LinkAttrs: attributes, PeerName: peerName, PeerNamespace: netlink.NsFd(int(peer.handle))}
	if err := n.routes.LinkAdd(veth); err != nil {
		return fmt.Errorf("link %s of %s to %s of %s: %w", name, n.Name, peerName, peer.Name, err)
	}
	return errors.Join(n.setUp(name), peer.setUp(peerName))
}

// attach makes a link of the namespace a port of one of its bridges.
func (n *Netns) attach(name, bridge string, hairpin bool) error {
	port, err := n.link(name)
	if err != nil {
		return err
	}
	master, err := n.link(bridge)
	if err != nil {
		return err
	}
	if err := n.routes.LinkSetMaster(port, master); err != nil {
		return fmt.Errorf("attach %s to bridge %s of %s: %w", name, bridge, n.Name, err)
	}
	if !hairpin {
		return nil
	}
	if err := n.routes.LinkSetHairpin(port, true); err != nil {
		return fmt.Errorf("set hairpin mode of %s of %s: %w", name, n.Name, err)
	}
	return nil
}

// addAddresses gives a link addresses that can be used at once.
func (n *Netns) addAddresses(name string, prefixes []netip.Prefix) error {
	for _, prefix := range prefixes {
		if err := n.addAddress(name, prefix, &netlink.Addr{}); err != nil {
			return err
		}
	}
	return n.awaitSolicited(name, prefixes)
}

// addFurtherAddress gives a link an address from which it begins nothing. Of
// IPv6 addresses that fit alike the kernel would take the newest as source, to
// which others have no route; one whose preferred lifetime is over comes last.
func (n *Netns) addFurtherAddress(name string, prefix netip.Prefix) error {
	if err := n.addAddress(name, prefix, &netlink.Addr{ValidLft: math.MaxUint32}); err != nil {
		return err
	}
	return n.awaitSolicited(name, []netip.Prefix{prefix})
}

// addAddress gives a link one address, with these lifetimes.
func (n *Netns) addAddress(name string, prefix netip.Prefix, address *netlink.Addr) error {
	link, err := n.link(name)
	if err != nil {
		return err
	}
	address.IPNet = ipNet(prefix)
	if FamilyOf(prefix.Addr()) == IPv6 {
		address.Flags = unix.IFA_F_NODAD
	}
	if err := n.routes.AddrAdd(link, address); err != nil {
		return fmt.Errorf("add address %v to %s of %s: %w", prefix, name, n.Name, err)
	}
	return nil
}

// awaitSolicited waits until the IPv6 addresses of a link can be found by
// neighbours. The kernel joins the multicast groups in which they ask in the
// background, and a question that comes before is repeated only a second later.
func (n *Netns) awaitSolicited(name string, prefixes []netip.Prefix) error {
	deadline := time.Now().Add(linkTimeout)
	for _, prefix := range prefixes {
		for FamilyOf(prefix.Addr()) == IPv6 {
			groups, err := n.read("/proc/thread-self/net/igmp6")
			if err != nil {
				return err
			}
			if joined(groups, name, solicited(prefix.Addr())) {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("address %v of %s of %s still cannot be found by neighbours after %v", prefix, name, n.Name, linkTimeout)
			}
			time.Sleep(linkInterval)
		}
	}
	return nil
}

// solicited is the multicast group in which neighbours ask for an IPv6 address
// (RFC 4291, section 2.7.1).
func solicited(address netip.Addr) netip.Addr {
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	unicast := address.As16()
	copy(group[13:], unicast[13:])
	return netip.AddrFrom16(group)
}

// joined reports whether /proc/net/igmp6 lists the group for a link.
func joined(groups, link string, group netip.Addr) bool {
	for line := range strings.Lines(groups) {
		fields := strings.Fields(line)
		if len(fields) > 2 && fields[1] == link && fields[2] == fmt.Sprintf("%x", group.As16()) {
			return true
		}
	}
	return false
}

// ipNet converts a prefix, keeping its host bits.
func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}
}
