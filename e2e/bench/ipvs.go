package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// getInfo is IP_VS_SO_GET_INFO of linux/ip_vs.h: version, hash size and the number of IPv4 virtual servers. Unlike a
// netlink request it does not make the kernel load IPVS.
const getInfo = 64 + 1024 + 64 + 1

// tableInterval is the pause between two looks at what is read as a whole.
const tableInterval = 100 * time.Millisecond

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

// ipvsView observes proxies that use IPVS.
type ipvsView struct {
	mu      sync.Mutex // the handle carries one request at a time
	socket  int
	updates chan netlink.AddrUpdate
	stop    chan struct{}
	missing map[netip.Addr]struct{}
	kernel  *ipvs.Handle // nil until something is in the kernel
}

// watchIPVS begins to listen for the addresses.
func watchIPVS(targets []target) (view, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open a raw socket: %w", err)
	}
	v := &ipvsView{socket: socket, updates: make(chan netlink.AddrUpdate, len(targets)), stop: make(chan struct{}),
		missing: make(map[netip.Addr]struct{}, len(targets))}
	for _, t := range targets {
		v.missing[t.clusterIP] = struct{}{}
	}
	err = netlink.AddrSubscribeWithOptions(v.updates, v.stop, netlink.AddrSubscribeOptions{ReceiveBufferSize: 8 << 20})
	if err != nil {
		return nil, fmt.Errorf("subscribe to addresses: %w", err)
	}
	return v, nil
}

func (v *ipvsView) close() {
	close(v.stop)
	_ = unix.Close(v.socket)
	if v.kernel != nil {
		v.kernel.Close()
	}
}

// awaitAll implements view: the last of the addresses, virtual servers, real servers and entries of the set of ClusterIPs.
// The latter two are read as a whole, and so only once there is everything that is cheap to see.
func (v *ipvsView) awaitAll(ctx context.Context, o options) (time.Time, error) {
	last, err := v.awaitServers(ctx, o)
	if err != nil {
		return last, err
	}
	servers := o.Services * o.Endpoints
	if o.dataPath() {
		servers = 0 // what cannot be counted; there the contestant says when it is done, and packets show it
	}
	for _, table := range []struct {
		what  string
		want  int
		count func() (int, error)
	}{
		{"real servers", servers, realServers},
		{"entries of " + clusterIPSet, o.Services, clusterIPEntries},
	} {
		for late := false; table.want > 0; late = true {
			count, err := table.count()
			if err != nil {
				return last, fmt.Errorf("count %s: %w", table.what, err)
			}
			if late {
				last = time.Now()
			}
			if count >= table.want {
				break
			}
			select {
			case <-ctx.Done():
				return last, fmt.Errorf("%d of %d %s: %w", count, table.want, table.what, ctx.Err())
			case <-time.After(tableInterval):
			}
		}
	}
	v.kernel, err = ipvs.New("")
	return last, err
}

// awaitServers returns when the last of the virtual servers and addresses appeared.
func (v *ipvsView) awaitServers(ctx context.Context, o options) (time.Time, error) {
	ticker := time.NewTicker(startInterval)
	defer ticker.Stop()
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	last := time.Now()
	for enough := false; !enough || len(v.missing) > 0; {
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("%d addresses and %d of %d virtual servers missing: %w", len(v.missing),
				max(0, o.Services-virtualServers(v.socket)), o.Services, ctx.Err())
		case update, ok := <-v.updates:
			if !ok {
				return last, fmt.Errorf("the subscription to addresses ended")
			}
			addr, _ := netip.AddrFromSlice(update.LinkAddress.IP)
			delete(v.missing, addr.Unmap())
			last = time.Now()
		case <-sweep.C:
			if err := v.sweep(); err != nil {
				return last, err
			}
			if len(v.missing) == 0 {
				last = time.Now()
			}
			fmt.Fprintf(os.Stderr, "bench: %d addresses and %d virtual servers are missing yet\n", len(v.missing),
				max(0, o.Services-virtualServers(v.socket)))
		case <-ticker.C:
			if !enough && virtualServers(v.socket) >= o.Services {
				enough, last = true, time.Now()
			}
		}
	}
	return last, nil
}

// sweepInterval is how often all addresses are read while a program starts.
const sweepInterval = 20 * time.Second

// sweep looks at the addresses themselves, in case an event was lost. A list that an addition interrupted may lack some, but
// what it has is there; the next sweep sees the rest.
func (v *ipvsView) sweep() error {
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, address := range addresses {
		addr, _ := netip.AddrFromSlice(address.IP)
		delete(v.missing, addr.Unmap())
	}
	return nil
}

// clusterIPSet is the set of ClusterIPs and ports, by the same name for every proxy that uses IPVS.
const clusterIPSet = "KUBE-CLUSTER-IP"

// clusterIPEntries reads "Number of entries: N" of the set.
func clusterIPEntries() (int, error) {
	printed, err := exec.Command("ipset", "list", "-terse", clusterIPSet).Output()
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(printed), "Number of entries:")
	var count int
	_, err = fmt.Sscan(rest, &count)
	return count, err
}

// realServers counts all real servers of the calling thread's network namespace.
func realServers() (int, error) {
	text, err := os.ReadFile("/proc/thread-self/net/ip_vs")
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

// awaitEndpoints implements view: real servers with a weight.
func (v *ipvsView) awaitEndpoints(ctx context.Context, s target, want int) error {
	virtual := &ipvs.Service{AddressFamily: unix.AF_INET, Protocol: unix.IPPROTO_TCP, Address: s.clusterIP.AsSlice(), Port: servicePort}
	for {
		found, err := v.realServers(virtual)
		if err != nil {
			return fmt.Errorf("read the real servers of %s: %w", s.name, err)
		}
		serving := 0
		for _, server := range found {
			if server.Weight > 0 {
				serving++
			}
		}
		if serving == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has %d real servers with a weight, want %d: %w", s.name, serving, want, ctx.Err())
		case <-time.After(changeInterval):
		}
	}
}

func (v *ipvsView) realServers(of *ipvs.Service) ([]*ipvs.Destination, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.kernel.GetDestinations(of)
}
