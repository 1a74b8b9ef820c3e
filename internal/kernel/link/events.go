package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

const (
	// notificationBuffer holds the notifications of some ten thousand address changes.
	notificationBuffer = 8 << 20
	// burst is how many events a reader finds waiting at once.
	burst = 1 << 10
	// reopenDelay is the pause before a broken notification socket is opened again, once more.
	reopenDelay = time.Second
)

// Subscribe delivers changes to the device, its addresses and the node's until the context ends; then the channel is
// closed. Events that came while the kernel's or our buffer was full are replaced by one Overrun; so are those of the
// time it took to open a broken socket again.
func (d *Driver) Subscribe(ctx context.Context) (<-chan dataplane.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, fmt.Errorf("route socket: %w", os.ErrClosed)
	}
	own, err := unix.FcntlInt(uintptr(d.namespace), unix.F_DUPFD_CLOEXEC, 0) // outlives Close
	if err != nil {
		return nil, fmt.Errorf("keep the network namespace: %w", err)
	}
	w := &watcher{namespace: netns.NsHandle(own), merger: newMerger()}
	if err := w.open(); err != nil {
		_ = w.namespace.Close()
		return nil, err
	}
	events := make(chan dataplane.Event, burst)
	go w.merger.deliver(ctx, events)
	go w.run(ctx)
	return events, nil
}

// watcher turns rtnetlink notifications into events. After open it belongs to the goroutine of run.
type watcher struct {
	namespace netns.NsHandle
	merger    *merger
	socket    *nl.NetlinkSocket
	index     int // of the device; 0 when there is none
}

// open opens the socket, then looks for the device: whatever happens from here on is seen.
func (w *watcher) open() error {
	return inNamespace(w.namespace, func() error {
		socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
		if err != nil {
			return fmt.Errorf("subscribe to rtnetlink: %w", typed(err))
		}
		if socket.SetReceiveBufferSize(notificationBuffer, true) != nil {
			_ = socket.SetReceiveBufferSize(notificationBuffer, false) // not allowed: what the host's limit gives
		}
		if err := w.find(); err != nil {
			socket.Close()
			return err
		}
		w.socket = socket
		return nil
	})
}

// find reads the device's index. It runs in the namespace.
func (w *watcher) find() error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a route socket: %w", err)
	}
	defer handle.Close()
	device, err := retryDump(func() (netlink.Link, error) { return handle.LinkByName(dataplane.Device) })
	if _, absent := errors.AsType[netlink.LinkNotFoundError](err); absent {
		w.index = 0
		return nil
	}
	if err != nil {
		return fmt.Errorf("find device %s: %w", dataplane.Device, typed(err))
	}
	w.index = device.Attrs().Index
	return nil
}

// run reads until the context ends, whatever happens to the socket.
func (w *watcher) run(ctx context.Context) {
	defer func() { _ = w.namespace.Close() }()
	for {
		w.read(ctx)
		if !w.reopen(ctx) {
			return
		}
		w.merger.put(dataplane.Event{Kind: dataplane.Overrun})
	}
}

// read handles notifications until the context ends or the socket breaks, and closes it.
func (w *watcher) read(ctx context.Context) {
	socket := w.socket
	stop := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	for {
		messages, from, err := socket.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS): // the kernel dropped notifications; those of the device may be among them
			if inNamespace(w.namespace, w.find) != nil {
				return
			}
			w.merger.put(dataplane.Event{Kind: dataplane.Overrun})
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return
		case from.Pid == 0:
			for _, message := range messages {
				w.handle(message)
			}
		}
	}
}

// reopen tries until there is a socket again, and returns false when the context ended first.
func (w *watcher) reopen(ctx context.Context) bool {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			if ctx.Err() != nil {
				return false
			}
			if w.open() == nil {
				return true
			}
			timer.Reset(reopenDelay)
		}
	}
}

// handle turns one notification into at most one event. One that cannot be read may have been any.
func (w *watcher) handle(message syscall.NetlinkMessage) {
	switch message.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if index, name, ok := parseLink(message.Data); ok {
			w.handleLink(index, name, message.Header.Type == unix.RTM_DELLINK)
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		address, err := parseAddress(message.Data)
		if err != nil {
			w.merger.put(dataplane.Event{Kind: dataplane.Overrun})
			return
		}
		w.handleAddress(address, message.Header.Type == unix.RTM_NEWADDR)
	}
}

func (w *watcher) handleLink(index int, name string, gone bool) {
	switch {
	case index == w.index && (gone || name != dataplane.Device): // deleted or renamed
		w.index = 0
		w.merger.put(dataplane.Event{Kind: dataplane.DeviceRemoved})
	case name == dataplane.Device && !gone:
		w.index = index
	}
}

func (w *watcher) handleAddress(address binding, added bool) {
	switch {
	case address.index != w.index:
		if address.ofNode() {
			w.merger.put(dataplane.Event{Kind: dataplane.NodeAddressesChanged})
		}
	case !address.ours():
	case added:
		w.merger.put(dataplane.Event{Kind: dataplane.BoundAddressAdded, Addr: address.prefix.Addr()})
	default:
		w.merger.put(dataplane.Event{Kind: dataplane.BoundAddressRemoved, Addr: address.prefix.Addr()})
	}
}
