package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The floor is what the kernel itself needs: the same objects as in the other contestants' kernels, encoded beforehand and
// sent as many to a datagram as the other end takes, with nothing to find out, to compare or to read back.

// mostBatch is the length of a datagram, in bytes.
const mostBatch = 200 << 10

// batches are the datagrams for one netlink socket.
type batches struct {
	protocol int
	sends    [][]byte
	messages int
}

// add appends a request to the last datagram, or to a new one.
func (b *batches) add(request *nl.NetlinkRequest) {
	b.messages++
	request.Seq = uint32(b.messages)
	request.Flags |= unix.NLM_F_ACK
	message := request.Serialize()
	if last := len(b.sends) - 1; last >= 0 && len(b.sends[last])+len(message) <= mostBatch {
		b.sends[last] = append(b.sends[last], message...)
		return
	}
	b.sends = append(b.sends, message)
}

// measureFloor takes the time of the sending, and then of listing the objects and reading the kernel, once each.
func (g *guest) measureFloor(ctx context.Context, m *measurement) error {
	var err error
	if m.Cold.Rounds, err = g.installFloor(); err != nil {
		return err
	}
	begun := time.Now()
	if err := g.readOnce(ctx); err != nil {
		return err
	}
	m.Warm.Took = time.Since(begun)
	return nil
}

// readOnce does what no start can do without: it lists the objects, as informers do, and reads what the kernel has.
func (g *guest) readOnce(ctx context.Context) error {
	fromCache := metav1.ListOptions{ResourceVersion: "0"}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := g.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, fromCache)
		return err
	})
	group.Go(func() error {
		_, err := g.client.DiscoveryV1().EndpointSlices(metav1.NamespaceAll).List(ctx, fromCache)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if _, err := realServers(); err != nil {
		return err
	}
	if _, err := netlink.AddrList(nil, netlink.FAMILY_ALL); err != nil {
		return err
	}
	_, err := netlink.IpsetList(clusterIPSet)
	return err
}

// installFloor makes device and set, encodes, and returns how long the sending took.
func (g *guest) installFloor() (time.Duration, error) {
	err := errors.Join(g.tool("", "ip", "link", "add", "kube-ipvs0", "type", "dummy"),
		g.tool("", "ipset", "create", clusterIPSet, "hash:ip,port", "family", "inet", "hashsize", "1024", "maxelem", "65536"))
	if err != nil {
		return 0, err
	}
	addresses, err := g.addressBatches()
	if err != nil {
		return 0, err
	}
	servers, err := g.serverBatches()
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	for _, b := range []*batches{g.entryBatches(), addresses, servers} {
		if err := b.send(); err != nil {
			return 0, err
		}
	}
	took := time.Since(begun)
	if g.dataPath() {
		return took, nil
	}
	count, err := realServers()
	if err != nil || count != g.Services*g.Endpoints {
		return 0, fmt.Errorf("the kernel has %d real servers, want %d: %w", count, g.Services*g.Endpoints, err)
	}
	return took, nil
}

func (g *guest) addressBatches() (*batches, error) {
	device, err := netlink.LinkByName("kube-ipvs0")
	if err != nil {
		return nil, err
	}
	b := &batches{protocol: unix.NETLINK_ROUTE}
	for _, t := range g.targets {
		request := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
		header := nl.NewIfAddrmsg(unix.AF_INET)
		header.Prefixlen, header.Index = 32, uint32(device.Attrs().Index)
		request.AddData(header)
		request.AddData(nl.NewRtAttr(unix.IFA_LOCAL, t.clusterIP.AsSlice()))
		b.add(request)
	}
	return b, nil
}

// Attributes of entries, linux/netfilter/ipset/ip_set.h.
const (
	ipsetProtocol = 6
	attrIPv4      = 1 // within an address
)

func (g *guest) entryBatches() *batches {
	b := &batches{protocol: unix.NETLINK_NETFILTER}
	for _, t := range g.targets {
		b.add(entryRequest(t.clusterIP, unix.IPPROTO_TCP))
	}
	return b
}

// entryRequest adds an address and the port of a Service to the set of ClusterIPs.
func entryRequest(addr netip.Addr, protocol byte) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(nl.IPSET_CMD_ADD|unix.NFNL_SUBSYS_IPSET<<8, unix.NLM_F_CREATE)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
	request.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, []byte{ipsetProtocol}))
	request.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(clusterIPSet)))
	data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|unix.NLA_F_NESTED, nil)
	data.AddRtAttr(nl.IPSET_ATTR_IP|unix.NLA_F_NESTED, nil).AddRtAttr(attrIPv4|unix.NLA_F_NET_BYTEORDER, addr.AsSlice())
	data.AddRtAttr(nl.IPSET_ATTR_PROTO, []byte{protocol})
	data.AddRtAttr(nl.IPSET_ATTR_PORT|unix.NLA_F_NET_BYTEORDER, port(servicePort))
	request.AddData(data)
	return request
}

// Requests and attributes of IPVS, linux/ip_vs.h.
const (
	newService, newDest, version                  = 1, 5, 1
	cmdService, cmdDest                           = 1, 2
	svcFamily, svcProtocol, svcAddr, svcPort      = 1, 2, 3, 4
	svcScheduler, svcFlags, svcTimeout, svcMask   = 6, 7, 8, 9
	destAddr, destPort, destMethod, destWeight    = 1, 2, 3, 4
	destUpper, destLower, destFamily, fullNetmask = 5, 6, 11, 0xffffffff
)

func (g *guest) serverBatches() (*batches, error) {
	family, err := netlink.GenlFamilyGet("IPVS")
	if err != nil {
		return nil, fmt.Errorf("find IPVS: %w", err)
	}
	b := &batches{protocol: unix.NETLINK_GENERIC}
	for n, t := range g.targets {
		service := serviceKey(t)
		service.AddRtAttr(svcScheduler, nl.ZeroTerminated("rr"))
		service.AddRtAttr(svcFlags, append(number(0), number(fullNetmask)...))
		service.AddRtAttr(svcTimeout, number(0))
		service.AddRtAttr(svcMask, number(fullNetmask))
		request := nl.NewNetlinkRequest(int(family.ID), 0)
		request.AddData(&nl.Genlmsg{Command: newService, Version: version})
		request.AddData(service)
		b.add(request)
		for e := range g.Endpoints {
			dest := nl.NewRtAttr(cmdDest|unix.NLA_F_NESTED, nil)
			dest.AddRtAttr(destAddr, endpointAddr(n, e).AsSlice())
			dest.AddRtAttr(destPort, port(targetPort))
			dest.AddRtAttr(destMethod, number(0))
			dest.AddRtAttr(destWeight, number(1))
			dest.AddRtAttr(destUpper, number(0))
			dest.AddRtAttr(destLower, number(0))
			dest.AddRtAttr(destFamily, binary.NativeEndian.AppendUint16(nil, unix.AF_INET))
			request := nl.NewNetlinkRequest(int(family.ID), 0)
			request.AddData(&nl.Genlmsg{Command: newDest, Version: version})
			request.AddData(serviceKey(t))
			request.AddData(dest)
			b.add(request)
		}
	}
	return b, nil
}

func serviceKey(t target) *nl.RtAttr {
	service := nl.NewRtAttr(cmdService|unix.NLA_F_NESTED, nil)
	service.AddRtAttr(svcFamily, binary.NativeEndian.AppendUint16(nil, unix.AF_INET))
	service.AddRtAttr(svcProtocol, binary.NativeEndian.AppendUint16(nil, unix.IPPROTO_TCP))
	service.AddRtAttr(svcAddr, t.clusterIP.AsSlice())
	service.AddRtAttr(svcPort, port(servicePort))
	return service
}

func port(number uint16) []byte  { return binary.BigEndian.AppendUint16(nil, number) }
func number(value uint32) []byte { return binary.NativeEndian.AppendUint32(nil, value) }

// send sends everything and reads the acknowledgements of each datagram before the next.
func (b *batches) send() error {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, b.protocol)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	err = errors.Join(
		unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4*mostBatch),
		unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.SetsockoptInt(socket, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		unix.Bind(socket, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	if err != nil {
		return fmt.Errorf("prepare a netlink socket: %w", err)
	}
	received := make([]byte, 64<<10)
	for _, datagram := range b.sends {
		if err := unix.Sendto(socket, datagram, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("send a batch: %w", err)
		}
		for pending := countMessages(datagram); pending > 0; {
			n, _, err := unix.Recvfrom(socket, received, 0)
			if err != nil {
				return fmt.Errorf("receive acknowledgements: %w", err)
			}
			acknowledged, err := acknowledgements(received[:n])
			if err != nil {
				return err
			}
			pending -= acknowledged
		}
	}
	return nil
}

func countMessages(datagram []byte) int {
	count := 0
	for len(datagram) > 0 {
		datagram = datagram[binary.NativeEndian.Uint32(datagram):]
		count++
	}
	return count
}

// acknowledgements counts them, and fails with the first that is an error.
func acknowledgements(received []byte) (int, error) {
	messages, err := syscall.ParseNetlinkMessage(received)
	if err != nil {
		return 0, err
	}
	for _, message := range messages {
		if message.Header.Type != unix.NLMSG_ERROR {
			return 0, fmt.Errorf("message %d is of type %d, want an acknowledgement", message.Header.Seq, message.Header.Type)
		}
		if code := int32(binary.NativeEndian.Uint32(message.Data)); code != 0 {
			return 0, fmt.Errorf("message %d: %w", message.Header.Seq, unix.Errno(-code))
		}
	}
	return len(messages), nil
}
