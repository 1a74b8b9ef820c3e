package link

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// Notifications really do not fit into the receive buffer while a batch is under way: that some are missing is said, and
// those of later batches arrive.
func TestNotificationsOverrun(t *testing.T) {
	d := ensured(t)
	own, err := unix.FcntlInt(uintptr(d.namespace), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{namespace: netns.NsHandle(own), merger: newMerger()} // closed by run
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	if err := w.socket.SetReceiveBufferSize(0, false); err != nil { // the smallest there is
		t.Fatal(err)
	}
	var addrs []string
	for i := range 500 {
		addrs = append(addrs, fmt.Sprintf("10.96.%d.%d", i/250, i%250+1))
	}
	succeed(t, d.Apply(t.Context(), operations(dataplane.Add, addrs...))) // nobody listens yet
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, done := make(chan dataplane.Event), make(chan struct{})
	go w.merger.deliver(ctx, events)
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	await(t, events, dataplane.Overrun, "")
	// Until the socket is empty, the kernel drops what is new, too.
	if !slices.ContainsFunc(addrs, func(addr string) bool {
		succeed(t, d.Apply(t.Context(), operations(dataplane.Delete, addr)))
		return removed(events)
	}) {
		t.Error("nothing is heard any more")
	}
	cancel()
	<-done
}

// removed reports whether it is heard, soon, that an address was removed.
func removed(events <-chan dataplane.Event) bool {
	soon := time.After(50 * time.Millisecond)
	for {
		select {
		case event := <-events:
			if event.Kind == dataplane.BoundAddressRemoved {
				return true
			}
		case <-soon:
			return false
		}
	}
}
