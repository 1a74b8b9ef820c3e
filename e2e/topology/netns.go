package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Netns is a network namespace of this process. Its methods may be called from
// several goroutines at once.
type Netns struct {
	// Name identifies the namespace in messages; backends answer with it.
	Name string
	// IPv4 and IPv6 are the addresses by which others reach it.
	IPv4, IPv6 netip.Addr

	handle   netns.NsHandle
	routes   *netlink.Handle
	mu       sync.Mutex // guards closed, commands
	closed   bool
	commands []*Cmd
	ports    atomic.Uint32 // how many NextPort has returned
}

// newNetns makes a namespace with nothing in it but a loopback device that is
// up. The caller has to close it.
func newNetns(name string) (*Netns, error) {
	handle, err := createNamespace()
	if err != nil {
		return nil, fmt.Errorf("make the network namespace of %s (root is needed): %w", name, err)
	}
	n := &Netns{Name: name, handle: handle}
	if n.routes, err = netlink.NewHandleAt(handle, unix.NETLINK_ROUTE); err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink in the namespace of %s: %w", name, err), n.close())
	}
	if err := n.setUp("lo"); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// createNamespace makes a namespace and leaves the calling thread in its own.
func createNamespace() (created netns.NsHandle, err error) {
	runtime.LockOSThread()
	origin, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return netns.None(), err
	}
	defer origin.Close()
	defer func() { err = errors.Join(err, returnTo(origin)) }()
	return netns.New()
}

// returnTo moves the locked calling thread to a namespace and unlocks it. A
// thread that cannot be moved stays locked, so that it ends with its goroutine.
func returnTo(origin netns.NsHandle) error {
	if err := netns.Set(origin); err != nil {
		return fmt.Errorf("return to the thread's own network namespace: %w", err)
	}
	runtime.UnlockOSThread()
	return nil
}

// Do calls f on a thread that is in the namespace, and returns f's error.
// Sockets that f opens, processes that it starts and files below /proc/sys/net and
// /proc/thread-self/net that it opens belong to the namespace. Goroutines that f
// starts do not run in it.
func (n *Netns) Do(f func() error) (err error) {
	runtime.LockOSThread()
	origin, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("look up the thread's own network namespace: %w", err)
	}
	defer origin.Close()
	// Deferred, because f may end its goroutine with t.FailNow.
	defer func() { err = errors.Join(err, returnTo(origin)) }()
	if err := netns.Set(n.handle); err != nil {
		return fmt.Errorf("enter the network namespace of %s: %w", n.Name, err)
	}
	return f()
}

// Address returns the namespace's address of a family.
func (n *Netns) Address(family Family) netip.Addr {
	if family == IPv4 {
		return n.IPv4
	}
	return n.IPv6
}

// The ports that Linux gives to sockets without one, unless net.ipv4.ip_local_port_range says otherwise.
const (
	firstPort = 32768
	freePorts = 60999 - firstPort + 1
)

// NextPort returns a source port that it has not returned for 28,000 calls. Left to itself, Linux gives out those of UDP and
// SCTP at random, and after some hundred sockets one again whose flow its tables still remember. Somebody else may have the
// port. Namespaces begin with different ones, so that not all ask for the same to be kept when they are masqueraded.
func (n *Netns) NextPort() uint16 {
	begin := uint32(0)
	if n.IPv4.IsValid() {
		bytes := n.IPv4.As4()
		begin = 101 * (250*uint32(bytes[2]) + uint32(bytes[3]))
	}
	return uint16(firstPort + (begin+n.ports.Add(1))%freePorts)
}

// Netlink returns a handle for links, addresses, routes and neighbours of the
// namespace. It belongs to the Netns: do not close it.
func (n *Netns) Netlink() *netlink.Handle { return n.routes }

// Path returns a path of the namespace for programs that enter one, such as
// nsenter --net=PATH. It is valid while this process and the Netns live.
func (n *Netns) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.handle))
}

// SetSysctl writes a setting of the namespace. The key is a path below /proc/sys,
// with slashes: net/ipv4/ip_forward.
func (n *Netns) SetSysctl(key, value string) error {
	return n.setSysctls([]setting{{key, value}})
}

// Sysctl reads a setting of the namespace, without the newline at its end. The
// key is as for SetSysctl.
func (n *Netns) Sysctl(key string) (string, error) {
	value, err := n.read(sysctlPath(key))
	return strings.TrimSpace(value), err
}

// read reads a file whose content depends on the namespace of the reading thread.
func (n *Netns) read(path string) (string, error) {
	var content []byte
	err := n.Do(func() (err error) {
		content, err = os.ReadFile(path)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read %s in %s: %w", path, n.Name, err)
	}
	return string(content), nil
}

// setting is a sysctl and its value.
type setting struct {
	key, value string
}

// setSysctls writes settings in order, entering the namespace only once.
func (n *Netns) setSysctls(settings []setting) error {
	return n.Do(func() error {
		for _, s := range settings {
			if err := os.WriteFile(sysctlPath(s.key), []byte(s.value), 0); err != nil {
				return fmt.Errorf("write %s to setting %s of %s: %w", s.value, s.key, n.Name, err)
			}
		}
		return nil
	})
}

func sysctlPath(key string) string { return filepath.Join("/proc/sys", key) }

// close ends the namespace's processes and lets go of it; the kernel removes
// it, with all its links, once its last socket is closed. Closing twice is fine.
func (n *Netns) close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	commands := n.commands
	n.mu.Unlock()
	err := killAll(commands)
	if n.routes != nil {
		n.routes.Close()
	}
	if closeErr := n.handle.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("close the network namespace of %s: %w", n.Name, closeErr))
	}
	return err
}

// closeAfter closes the namespace when the test ends.
func (n *Netns) closeAfter(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
}
