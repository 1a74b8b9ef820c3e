package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// open returns a driver in a fresh network namespace. On the lab's kernel its device is a dummy. Elsewhere there may be
// none, and a bridge, which is an interface with addresses and without a link too, stands in.
func open(t testing.TB) *Driver {
	t.Helper()
	kerneltest.Netns(t)
	d, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if os.Getenv(kerneltest.LabVariable) == "" {
		d.kind = "bridge"
	}
	return d
}

func ensured(t testing.TB) *Driver {
	t.Helper()
	d := open(t)
	if _, err := d.EnsureDevice(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func device(t *testing.T) netlink.Link {
	t.Helper()
	found, err := netlink.LinkByName(dataplane.Device)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func operations(verb dataplane.Verb, addrs ...string) []dataplane.Operation {
	var ops []dataplane.Operation
	for _, addr := range addrs {
		ops = append(ops, dataplane.Operation{Verb: verb, Object: dataplane.Address{Addr: netip.MustParseAddr(addr)}})
	}
	return ops
}

func succeed(t testing.TB, results []error) {
	t.Helper()
	if err := errors.Join(results...); err != nil {
		t.Fatal(err)
	}
}

func expectAddresses(t *testing.T, d *Driver, want ...string) {
	t.Helper()
	got, err := d.Addresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, netip.Addr.Compare)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
}

func put(t *testing.T, on netlink.Link, prefix string) {
	t.Helper()
	addr, err := netlink.ParseAddr(prefix)
	if err != nil {
		t.Fatal(err)
	}
	addr.Flags |= unix.IFA_F_NODAD
	if err := netlink.AddrAdd(on, addr); err != nil {
		t.Fatalf("add %s: %v", prefix, err)
	}
}

func TestEnsureDevice(t *testing.T) {
	d := open(t)
	if _, err := d.Addresses(t.Context()); !errors.Is(err, dataplane.ErrNotExist) {
		t.Errorf("addresses without a device: %v", err)
	}
	first, err := d.EnsureDevice(t.Context())
	if err != nil || len(first) != 1 {
		t.Fatalf("repaired %q, %v; want one line", first, err)
	}
	if again, err := d.EnsureDevice(t.Context()); err != nil || len(again) != 0 {
		t.Errorf("repaired %q, %v a second time", again, err)
	}
	succeed(t, d.Apply(t.Context(), operations(dataplane.Add, "10.96.0.10", "fd00::10")))
	if err := netlink.LinkSetUp(device(t)); err != nil {
		t.Fatal(err)
	}
	up, err := d.EnsureDevice(t.Context())
	if err != nil || len(up) != 1 {
		t.Errorf("a device that was up: repaired %q, %v", up, err)
	}
	if device(t).Attrs().Flags&1 != 0 {
		t.Error("the device is still up")
	}
	expectAddresses(t, d, "10.96.0.10", "fd00::10")
	for _, want := range []int{1, 0} {
		if removed, err := d.RemoveDevice(t.Context()); err != nil || len(removed) != want {
			t.Errorf("removed %q, %v; want %d lines", removed, err, want)
		}
	}
}

func TestDeviceOfAnotherKind(t *testing.T) {
	d := open(t)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: dataplane.Device}, PeerName: "peer0"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	put(t, device(t), "192.0.2.1/32")
	_, ensure := d.EnsureDevice(t.Context())
	_, read := d.Addresses(t.Context())
	_, remove := d.RemoveDevice(t.Context())
	results := d.Apply(t.Context(), append(operations(dataplane.Add, "10.96.0.10"), operations(dataplane.Delete, "192.0.2.1")...))
	for _, err := range append(results, ensure, read, remove) {
		if !errors.Is(err, dataplane.ErrConflict) {
			t.Errorf("got %v, want ErrConflict", err)
		}
	}
	addrs, err := netlink.AddrList(device(t), netlink.FAMILY_V4)
	if err != nil || len(addrs) != 1 {
		t.Errorf("addresses of the foreign device: %v, %v", addrs, err)
	}
}

func TestApply(t *testing.T) {
	d := open(t)
	for _, err := range d.Apply(t.Context(), operations(dataplane.Add, "10.96.0.10", "fd00::10")) {
		if !errors.Is(err, dataplane.ErrNotExist) {
			t.Errorf("adding without a device: %v", err)
		}
	}
	succeed(t, d.Apply(t.Context(), operations(dataplane.Delete, "10.96.0.10", "fd00::10")))
	if _, err := d.EnsureDevice(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		succeed(t, d.Apply(t.Context(), operations(dataplane.Add, "10.96.0.10", "fd00::10", "10.96.0.11", "fd00::11")))
		expectAddresses(t, d, "10.96.0.10", "10.96.0.11", "fd00::10", "fd00::11")
	}
	for range 2 {
		succeed(t, d.Apply(t.Context(), operations(dataplane.Delete, "10.96.0.10", "fd00::10")))
		expectAddresses(t, d, "10.96.0.11", "fd00::11")
	}
	v6, err := netlink.AddrList(device(t), netlink.FAMILY_V6)
	if err != nil || len(v6) != 1 || v6[0].Flags&unix.IFA_F_TENTATIVE != 0 {
		t.Errorf("IPv6 addresses %v, %v: want one that can be used at once", v6, err)
	}
}

// One refused operation in a batch larger than a send is that one's failure.
func TestApplyMany(t *testing.T) {
	d := ensured(t)
	var ops []dataplane.Operation
	for i := range 5000 {
		ops = append(ops, operations(dataplane.Add, fmt.Sprintf("10.96.%d.%d", i/250, i%250+1))...)
	}
	ops[200] = operations(dataplane.Add, "fe80::1")[0]
	ops[201] = dataplane.Operation{Verb: dataplane.Add, Object: dataplane.Entry{Set: "x"}}
	ops[202].Verb = dataplane.Edit
	for attempt := range 2 { // the second time every one of them is there already
		for i, err := range d.Apply(t.Context(), ops) {
			if refused := i >= 200 && i <= 202; refused != errors.Is(err, dataplane.ErrInvalid) || !refused && err != nil {
				t.Fatalf("attempt %d, operation %d, %v: %v", attempt, i, ops[i], err)
			}
		}
	}
	got, err := d.Addresses(t.Context())
	if err != nil || len(got) != len(ops)-3 {
		t.Errorf("%d addresses, %v; want %d", len(got), err, len(ops)-3)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range d.Apply(canceled, ops[:3]) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after the context ended: %v", err)
		}
	}
}

// What the kernel refuses in the middle of a batch (EACCES: IPv6 is off) fails by itself, with the receive buffer too small
// for the answers and with one that holds them.
func TestRefusalsInTheMiddle(t *testing.T) {
	d := ensured(t)
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+dataplane.Device+"/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	var ops []dataplane.Operation
	for i := range 600 {
		addr := fmt.Sprintf("10.96.%d.%d", i/250, i%250+1)
		if i%3 == 1 {
			addr = fmt.Sprintf("fd00::%x", i+1)
		}
		ops = append(ops, operations(dataplane.Add, addr)...)
	}
	for _, small := range []bool{false, true} {
		if wire, _ := d.conn.batch.Wire(); small {
			if err := unix.SetsockoptInt(wire.(*nlbatch.Socket).FD(), unix.SOL_SOCKET, unix.SO_RCVBUF, 0); err != nil {
				t.Fatal(err)
			}
		}
		for i, err := range d.Apply(t.Context(), ops) {
			if refused := i%3 == 1; refused != errors.Is(err, dataplane.ErrUnavailable) || refused != (err != nil) {
				t.Fatalf("small %v: %v: %v", small, ops[i], err)
			}
		}
		if got, err := d.Addresses(t.Context()); err != nil || len(got) != 400 {
			t.Errorf("small %v: %d addresses, %v", small, len(got), err)
		}
	}
}

// P25: addresses that are not the proxy's stay out of sight and out of reach.
func TestForeignAddressesStay(t *testing.T) {
	d := ensured(t)
	put(t, device(t), "192.0.2.1/24")
	put(t, device(t), "2001:db8::1/64")
	put(t, device(t), "fe80::7/128")
	expectAddresses(t, d)
	succeed(t, d.Apply(t.Context(), operations(dataplane.Delete, "192.0.2.1", "2001:db8::1")))
	addrs, err := netlink.AddrList(device(t), netlink.FAMILY_ALL)
	if err != nil || len(addrs) != 3 {
		t.Errorf("foreign addresses left: %v, %v", addrs, err)
	}
}

func TestNodeAddresses(t *testing.T) {
	d := ensured(t)
	succeed(t, d.Apply(t.Context(), operations(dataplane.Add, "10.96.0.10", "fd00::10")))
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "test0"}, PeerName: "test1"}); err != nil {
		t.Fatal(err)
	}
	other, err := netlink.LinkByName("test0")
	if err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	put(t, other, "192.0.2.1/24") // the interface is down
	put(t, other, "fe80::7/64")
	put(t, other, "2001:db8::1/64")
	put(t, other, "10.96.0.10/32") // also on the device: it is the node's all the same
	put(t, lo, "198.51.100.1/32")
	got, err := d.NodeAddresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b dataplane.NodeAddress) int { return a.Addr.Compare(b.Addr) })
	if want := "[{10.96.0.10 test0} {192.0.2.1 test0} {198.51.100.1 lo} {2001:db8::1 test0}]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// sabotage puts something that is no socket in the place of the driver's.
func sabotage(t *testing.T, d *Driver) {
	t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	wire, _ := d.conn.batch.Wire()
	if err := unix.Dup3(int(null.Fd()), wire.(*nlbatch.Socket).FD(), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
}

// P05: a broken socket is opened again.
func TestReopens(t *testing.T) {
	d := ensured(t)
	succeed(t, d.Apply(t.Context(), operations(dataplane.Add, "10.96.0.9")))
	sabotage(t, d)
	succeed(t, d.Apply(t.Context(), operations(dataplane.Delete, "10.96.0.9")))
	succeed(t, d.Apply(t.Context(), operations(dataplane.Add, "10.96.0.10")))
	sabotage(t, d)
	expectAddresses(t, d, "10.96.0.10")
	sabotage(t, d)
	if _, err := d.EnsureDevice(t.Context()); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Addresses(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func await(t *testing.T, events <-chan dataplane.Event, want dataplane.EventKind, addr string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case got, ok := <-events:
			if !ok {
				t.Fatalf("closed before event %d of %s", want, addr)
			}
			if got.Kind == want && (addr == "" || got.Addr == netip.MustParseAddr(addr)) {
				return
			}
		case <-timeout:
			t.Fatalf("no event %d of %s", want, addr)
		}
	}
}

func TestSubscribe(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := d.Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second device has another index
		if _, err := d.EnsureDevice(t.Context()); err != nil {
			t.Fatal(err)
		}
		succeed(t, d.Apply(t.Context(), operations(dataplane.Add, "10.96.0.10", "fd00::10")))
		await(t, events, dataplane.BoundAddressAdded, "10.96.0.10")
		await(t, events, dataplane.BoundAddressAdded, "fd00::10")
		succeed(t, d.Apply(t.Context(), operations(dataplane.Delete, "10.96.0.10")))
		await(t, events, dataplane.BoundAddressRemoved, "10.96.0.10")
		if err := netlink.LinkDel(device(t)); err != nil {
			t.Fatal(err)
		}
		await(t, events, dataplane.BoundAddressRemoved, "fd00::10")
		await(t, events, dataplane.DeviceRemoved, "")
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	put(t, lo, "192.0.2.1/32")
	await(t, events, dataplane.NodeAddressesChanged, "")
	cancel()
	for range events { // closed once the context ended
	}
}

// P05: what happens while a broken notification socket is replaced may be missed, and says so. The goroutine that
// replaces it runs on another thread than the test, outside its namespace.
func TestSubscriptionReopens(t *testing.T) {
	d := ensured(t)
	own, err := unix.FcntlInt(uintptr(d.namespace), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{namespace: netns.NsHandle(own), merger: newMerger()} // closed by run
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	events, done := make(chan dataplane.Event), make(chan struct{})
	go w.merger.deliver(ctx, events)
	w.socket.Close()
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	await(t, events, dataplane.Overrun, "")
	succeed(t, d.Apply(t.Context(), operations(dataplane.Add, "10.96.0.10")))
	await(t, events, dataplane.BoundAddressAdded, "10.96.0.10")
	cancel()
	<-done
}
