package link

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// answerTimeout bounds the library's wait for an answer. The kernel answers before the send returns, so only a lost answer waits.
const answerTimeout = 10 * time.Second

// dumpAttempts bounds how often a dump is begun again because the tables changed under it.
const dumpAttempts = 10

// conn is a pair of route sockets in one network namespace: the library's for interfaces, ours for addresses.
type conn struct {
	handle *netlink.Handle
	batch  *nlbatch.Conn
}

// dial opens the sockets in a network namespace, whichever the calling thread is in.
func dial(namespace netns.NsHandle) (*conn, error) {
	route := nlbatch.Dialer(unix.NETLINK_ROUTE)
	c := &conn{batch: nlbatch.New(func() (wire nlbatch.Wire, limits nlbatch.Limits, err error) {
		err = inNamespace(namespace, func() (err error) {
			wire, limits, err = route()
			return err
		})
		return wire, limits, err
	})}
	err := inNamespace(namespace, func() (err error) {
		c.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a route socket: %w", err)
	}
	if err := c.handle.SetSocketTimeout(answerTimeout); err != nil {
		c.handle.Close()
		return nil, fmt.Errorf("prepare a route socket: %w", err)
	}
	return c, nil
}

func (c *conn) close() error {
	c.handle.Close()
	return c.batch.Close()
}

// inNamespace runs f on a thread that is in the namespace. Only when the calling thread is elsewhere does it switch,
// which takes CAP_SYS_ADMIN: in a daemon every thread is in the one namespace it was started in.
func inNamespace(namespace netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	current, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("read the current network namespace: %w", err)
	}
	defer func() { _ = current.Close() }()
	if current.Equal(namespace) {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := netns.Set(namespace); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	result := f()
	if err := netns.Set(current); err != nil {
		// The thread stays locked and ends with the goroutine, so that nothing else runs in the wrong namespace.
		return errors.Join(result, fmt.Errorf("leave the network namespace: %w", err))
	}
	runtime.UnlockOSThread()
	return result
}

// device returns the device, ErrNotExist, or ErrConflict when an interface of another kind has its name.
func (c *conn) device(kind string) (netlink.Link, error) {
	found, err := retryDump(func() (netlink.Link, error) { return c.handle.LinkByName(dataplane.Device) })
	if _, absent := errors.AsType[netlink.LinkNotFoundError](err); absent {
		return nil, fmt.Errorf("device %s %w", dataplane.Device, dataplane.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("find device %s: %w", dataplane.Device, typed(err))
	}
	if found.Type() != kind {
		return nil, fmt.Errorf("%s is an interface of kind %q, not %q: %w; delete or rename it (ip link delete %s)",
			dataplane.Device, found.Type(), kind, dataplane.ErrConflict, dataplane.Device)
	}
	return found, nil
}

// addresses returns all addresses of all interfaces in the namespace.
func (c *conn) addresses(ctx context.Context) ([]binding, error) {
	all, err := nlbatch.Query(ctx, c.batch, func(b []byte) []byte {
		return append(nlbatch.Begin(b, unix.RTM_GETADDR, unix.NLM_F_DUMP), make([]byte, unix.SizeofIfAddrmsg)...)
	}, func(m nlbatch.Message) (binding, error) { return parseAddress(m.Payload) })
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", typed(err))
	}
	return all, nil
}

// names returns the interfaces' names by index.
func (c *conn) names() (map[int]string, error) {
	links, err := retryDump(c.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", typed(err))
	}
	names := map[int]string{}
	for _, one := range links {
		names[one.Attrs().Index] = one.Attrs().Name
	}
	return names, nil
}

// retryDump repeats a read that the kernel called inconsistent because something changed meanwhile.
func retryDump[T any](read func() (T, error)) (T, error) {
	for attempt := 1; ; attempt++ {
		got, err := read()
		if attempt == dumpAttempts || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return got, err
		}
	}
}
