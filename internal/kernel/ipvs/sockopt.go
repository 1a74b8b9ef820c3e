package ipvs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// The older interface of IPVS, getsockopt, as in include/uapi/linux/ip_vs.h on 64-bit kernels. It knows IPv4 only, and is
// many times cheaper to read than generic netlink: the whole table of services at one moment, with how many real servers
// each has, in one system call, and the real servers of one service in another.
const (
	getServicesOption = 64 + 1024 + 64 + 2 // IP_VS_SO_GET_SERVICES
	getDestsOption    = 64 + 1024 + 64 + 4 // IP_VS_SO_GET_DESTS

	servicesHeader = 8   // struct ip_vs_get_services: number of entries
	serviceEntry   = 104 // struct ip_vs_service_entry
	destsHeader    = 24  // struct ip_vs_get_dests: protocol, address, port, mark, number of entries
	destEntry      = 96  // struct ip_vs_dest_entry
	schedulerBytes = 16  // IP_VS_SCHEDNAME_MAXLEN
)

// errOldInterface: the older interface is not there, or not to be trusted; generic netlink has to do.
var errOldInterface = errors.New("the older interface of IPVS cannot be used")

// optionReader is getsockopt on some socket of the network namespace: it fills the buffer, whose length has to be exact.
type optionReader func(option int, buffer []byte) error

// readOption is the optionReader of a socket. Any of IPv4 does; what it needs is CAP_NET_ADMIN.
func readOption(fd int) optionReader {
	return func(option int, buffer []byte) error {
		size := uint32(len(buffer))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, uintptr(option),
			uintptr(unsafe.Pointer(&buffer[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	}
}

// optionTable reads tables by the older interface. The zero value, and one without a reader, cannot.
type optionTable struct {
	read     optionReader
	socket   int    // to be closed, if there is a reader
	services []byte // buffers, kept from one reading to the next
	dests    []byte
}

// openOptionTable returns a table of the calling thread's network namespace. Where the layout is not the one above, or
// there is no socket to be had, it is one that cannot read: nothing depends on it.
func openOptionTable() optionTable {
	if bits.UintSize != 64 {
		return optionTable{}
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return optionTable{}
	}
	return optionTable{read: readOption(socket), socket: socket}
}

// close releases the socket. Closing twice is fine.
func (t *optionTable) close() error {
	if t.read == nil {
		return nil
	}
	t.read = nil
	if err := unix.Close(t.socket); err != nil {
		return fmt.Errorf("close the socket of IPVS's older interface: %w", err)
	}
	return nil
}

// countedServer is a virtual server with the number of its real servers, those behind tunnels of the other family, which
// this interface hides, included.
type countedServer struct {
	dataplane.VirtualServer
	members int
}

// virtualServers reads all virtual servers of IPv4, as they are at one moment.
func (t *optionTable) virtualServers() ([]countedServer, error) {
	entries, err := t.serviceEntries()
	if err != nil {
		return nil, err
	}
	return decodeServiceEntries(entries)
}

// serviceEntries reads all virtual servers of IPv4, as they are at one moment, without decoding them. Behind the last there is
// a vacant entry. They are there until the table is read again.
func (t *optionTable) serviceEntries() ([]byte, error) {
	if t.read == nil {
		return nil, errOldInterface
	}
	for room := max(64, len(t.services)/serviceEntry); ; room *= 2 {
		t.services = blank(t.services, servicesHeader+room*serviceEntry)
		binary.NativeEndian.PutUint32(t.services, uint32(room))
		if err := t.read(getServicesOption, t.services); err != nil {
			return nil, fmt.Errorf("%w: read the virtual servers: %w", errOldInterface, err)
		}
		entries := t.services[servicesHeader:]
		if vacant(entries[(room-1)*serviceEntry:][:serviceEntry]) {
			return entries, nil
		}
	}
}

// decodeServiceEntries decodes entries up to the first vacant one.
func decodeServiceEntries(entries []byte) ([]countedServer, error) {
	var all []countedServer
	for ; len(entries) >= serviceEntry && !vacant(entries[:serviceEntry]); entries = entries[serviceEntry:] {
		one, err := decodeServiceEntry(entries[:serviceEntry])
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func decodeServiceEntry(b []byte) (countedServer, error) {
	var none countedServer
	name, _, terminated := bytes.Cut(b[16:16+schedulerBytes], []byte{0})
	protocol := binary.NativeEndian.Uint16(b)
	if !terminated || protocol == 0 || protocol > math.MaxUint8 {
		return none, fmt.Errorf("%w: a virtual server of protocol %d and scheduler %q", errOldInterface, protocol, name)
	}
	key := dataplane.KeyOf(dataplane.Protocol(protocol), netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[8:]))
	if mark := binary.NativeEndian.Uint32(b[12:]); mark != 0 {
		key = dataplane.MarkKeyOf(dataplane.IPv4, mark)
	}
	maskBits, err := maskBitsOf(dataplane.IPv4, b[40:44])
	if err != nil {
		return none, err
	}
	return countedServer{
		VirtualServer: dataplane.VirtualServer{
			Key:       key,
			Scheduler: schedulerName(name),
			Flags:     dataplane.ServiceFlags(binary.NativeEndian.Uint32(b[32:]) &^ flagHashed),
			Timeout:   binary.NativeEndian.Uint32(b[36:]),
			MaskBits:  maskBits,
		},
		members: int(binary.NativeEndian.Uint32(b[44:])),
	}, nil
}

// schedulerName makes no new string for the usual names.
func schedulerName(name []byte) string {
	switch string(name) {
	case "rr":
		return "rr"
	case "wrr":
		return "wrr"
	case "lc":
		return "lc"
	case "sh":
		return "sh"
	case "mh":
		return "mh"
	}
	return string(name)
}

// realServers reads the real servers of a virtual server of IPv4, as they are at one moment, and appends them to those
// given. Of a virtual server that is not there it tells so.
func (t *optionTable) realServers(key dataplane.VirtualServerKey, to []destination) (servers []destination, exists bool, err error) {
	if t.read == nil || key.Family != dataplane.IPv4 {
		return nil, false, errOldInterface
	}
	for room := max(16, (len(t.dests)-destsHeader)/destEntry); ; room *= 2 {
		t.dests = blank(t.dests, destsHeader+room*destEntry)
		appendDestsHeader(t.dests[:0], key, room)
		if err := t.read(getDestsOption, t.dests); errors.Is(err, unix.ESRCH) {
			return nil, false, nil
		} else if err != nil {
			return nil, false, fmt.Errorf("%w: read the real servers of %s: %w", errOldInterface, key, err)
		}
		entries := t.dests[destsHeader:]
		if vacant(entries[(room-1)*destEntry:]) {
			return decodeDestEntries(entries, to), true, nil
		}
	}
}

// appendDestsHeader appends the request for so many real servers of a virtual server.
func appendDestsHeader(b []byte, key dataplane.VirtualServerKey, room int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(key.Protocol))
	b = append(b, 0, 0)
	var addr [4]byte
	if key.Mark == 0 {
		addr = key.Addr.As4()
	}
	b = append(b, addr[:]...)
	b = binary.BigEndian.AppendUint16(b, key.Port)
	b = append(b, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, key.Mark)
	return binary.NativeEndian.AppendUint32(b, uint32(room))
}

// decodeDestEntries decodes entries up to the first vacant one.
func decodeDestEntries(entries []byte, to []destination) []destination {
	for ; len(entries) >= destEntry && !vacant(entries[:destEntry]); entries = entries[destEntry:] {
		flags, weight := binary.NativeEndian.Uint32(entries[8:]), binary.NativeEndian.Uint32(entries[12:])
		to = append(to, destination{
			RealServer: dataplane.RealServer{
				Addr:       netip.AddrPortFrom(netip.AddrFrom4([4]byte(entries[:4])), binary.BigEndian.Uint16(entries[4:])),
				Weight:     weight,
				Forwarding: dataplane.ForwardingMethod(flags & forwardingMask),
			},
			connections: binary.NativeEndian.Uint32(entries[24:]) + binary.NativeEndian.Uint32(entries[28:]),
			active:      binary.NativeEndian.Uint32(entries[24:]),
		})
	}
	return to
}

// blank returns a buffer of zeros, the given one if it is large enough. The kernel leaves what it does not need as it is:
// the first entry of zeros is the end.
func blank(b []byte, size int) []byte {
	if cap(b) < size {
		return make([]byte, size)
	}
	b = b[:size]
	clear(b)
	return b
}

// vacant reports whether the kernel has not filled an entry in. A service has a protocol, and no real server the
// address 0.0.0.0.
func vacant(entry []byte) bool { return binary.NativeEndian.Uint64(entry) == 0 }
