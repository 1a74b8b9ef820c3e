package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// getInfo is IP_VS_SO_GET_INFO of linux/ip_vs.h: version, hash size and the number of IPv4 virtual servers. Unlike a
// netlink request it does not make the kernel load IPVS.
const getInfo = 64 + 1024 + 64 + 1

// startInterval is how often the number of virtual servers is asked for while the daemon starts.
const startInterval = 10 * time.Millisecond

// virtualServers returns how many IPv4 virtual servers there are, 0 without IPVS.
func virtualServers(socket int) int {
	var info [3]uint32
	length := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(socket), unix.SOL_IP, getInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return 0
	}
	return int(info[2])
}

// watcher sees the kernel being programmed.
type watcher struct {
	socket  int
	updates chan netlink.AddrUpdate
	stop    chan struct{}
	missing map[netip.Addr]struct{}
}

// watch begins to listen for the addresses.
func watch(addrs []netip.Addr) (*watcher, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open a raw socket: %w", err)
	}
	w := &watcher{socket, make(chan netlink.AddrUpdate, len(addrs)), make(chan struct{}), make(map[netip.Addr]struct{}, len(addrs))}
	for _, addr := range addrs {
		w.missing[addr] = struct{}{}
	}
	err = netlink.AddrSubscribeWithOptions(w.updates, w.stop, netlink.AddrSubscribeOptions{ReceiveBufferSize: 8 << 20})
	if err != nil {
		return nil, fmt.Errorf("subscribe to addresses: %w", err)
	}
	return w, nil
}

func (w *watcher) close() {
	close(w.stop)
	_ = unix.Close(w.socket)
}

// await returns when the last of the virtual servers, real servers and addresses appeared. The real servers are counted
// at the end, since that takes long; for one that comes after everything else the time of the count is returned.
func (w *watcher) await(ctx context.Context, servers, reals int) (time.Time, error) {
	ticker := time.NewTicker(startInterval)
	defer ticker.Stop()
	last := time.Now()
	for enough := false; !enough || len(w.missing) > 0; {
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("%d addresses and %d of %d virtual servers missing: %w", len(w.missing),
				max(0, servers-virtualServers(w.socket)), servers, ctx.Err())
		case update, ok := <-w.updates:
			if !ok {
				return last, fmt.Errorf("the subscription to addresses ended")
			}
			addr, _ := netip.AddrFromSlice(update.LinkAddress.IP)
			delete(w.missing, addr.Unmap())
			last = time.Now()
		case <-ticker.C:
			if !enough && virtualServers(w.socket) >= servers {
				enough, last = true, time.Now()
			}
		}
	}
	for {
		count, err := realServers()
		if err != nil || count >= reals {
			return last, err
		}
		if last = time.Now(); ctx.Err() != nil {
			return last, fmt.Errorf("%d of %d real servers: %w", count, reals, ctx.Err())
		}
	}
}

// realServers counts all real servers.
func realServers() (int, error) {
	text, err := os.ReadFile("/proc/net/ip_vs")
	if err != nil {
		return 0, err
	}
	count := 0
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if fields := bytes.Fields(lines.Bytes()); len(fields) > 1 && string(fields[0]) == "->" && fields[1][0] != 'R' {
			count++
		}
	}
	return count, nil
}

// changeInterval is how often the kernel is asked whether a change has arrived.
const changeInterval = 2 * time.Millisecond

// awaitReal waits until the virtual server has the real server, with a weight, or until it has not.
func awaitReal(ctx context.Context, kernel *ipvs.Handle, service, real netip.Addr, wanted bool) error {
	virtual := &ipvs.Service{AddressFamily: unix.AF_INET, Protocol: unix.IPPROTO_TCP, Address: service.AsSlice(), Port: servicePort}
	for {
		found, err := kernel.GetDestinations(virtual)
		if err != nil {
			return fmt.Errorf("read the real servers of %s: %w", service, err)
		}
		present := false
		for _, server := range found {
			addr, _ := netip.AddrFromSlice(server.Address)
			present = present || addr.Unmap() == real && server.Weight > 0
		}
		if present == wanted {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("real server %s of %s: present is %t, want %t: %w", real, service, present, wanted, ctx.Err())
		case <-time.After(changeInterval):
		}
	}
}
