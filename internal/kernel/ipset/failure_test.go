package ipset_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipset"
)

// dropNetAdmin takes CAP_NET_ADMIN from the calling thread, which must be locked, and returns how to get it back.
func dropNetAdmin(t testing.TB) (restore func()) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before, after [2]unix.CapUserData
	if err := unix.Capget(&header, &before[0]); err != nil {
		t.Fatal(err)
	}
	after = before
	after[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &after[0]); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Capset(&header, &before[0]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWithoutTheCapability(t *testing.T) {
	ctx := context.Background()
	d, _ := open(t)
	set := hashSet("S", dataplane.HashIPPort, dataplane.IPv4)
	ensure(t, d, set)
	restore := dropNetAdmin(t)
	if other, err := ipset.Open(); !errors.Is(err, dataplane.ErrPermission) || other != nil {
		t.Errorf("Open: %v", err)
	}
	if _, err := d.Ensure(ctx, []dataplane.Set{set}); !errors.Is(err, dataplane.ErrPermission) {
		t.Errorf("Ensure: %v", err)
	}
	batch := operations(dataplane.Add, numbered("S", 300)...)
	for i, err := range d.Apply(ctx, batch) {
		var refused *ipset.Error
		if !errors.Is(err, dataplane.ErrPermission) || !errors.As(err, &refused) || "ipset "+refused.Action != batch[i].String() {
			t.Errorf("Apply, operation %d: %v", i, err)
		}
	}
	restore()
	apply(t, d, dataplane.Add, numbered("S", 300)...)
}

func TestLostAnswersAreAskedForAgain(t *testing.T) {
	for name, harm := range map[string]func(*ipset.Driver) error{
		"overrun": (*ipset.Driver).ShrinkReceiveBuffer, "broken": (*ipset.Driver).BreakSocket,
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := open(t)
			set := hashSet("S", dataplane.HashIPPort, dataplane.IPv4)
			ensure(t, d, set)
			entries := numbered("S", d.BatchSize()+1000)
			gone := dataplane.Entry{Set: "S", Addr: netip.MustParseAddr("10.0.0.1"), Protocol: dataplane.TCP, Port: 1, Mark: 1}
			var batch []dataplane.Operation
			for i, entry := range entries {
				if i%10 == 7 { // refused by the kernel: the set has no marks
					batch = append(batch, operations(dataplane.Add, gone)...)
				}
				batch = append(batch, operations(dataplane.Add, entry)...)
			}
			if err := harm(d); err != nil {
				t.Fatal(err)
			}
			for i, err := range d.Apply(context.Background(), batch) {
				refused := batch[i].Object == gone
				if refused != errors.Is(err, dataplane.ErrInvalid) || refused != (err != nil) {
					t.Fatalf("operation %d: %v", i, err)
				}
			}
			if err := harm(d); err != nil {
				t.Fatal(err)
			}
			if got := len(entriesOf(t, d, "S")); got != len(entries) {
				t.Errorf("%d entries, want %d", got, len(entries))
			}
			if err := d.BreakSocket(); err != nil {
				t.Fatal(err)
			}
			if err := d.Swap(context.Background(), "S", "T"); err == nil || errors.Is(err, dataplane.ErrNotExist) {
				t.Errorf("a swap with a broken socket was tried again: %v", err)
			}
			if repaired := ensure(t, d, set); repaired != nil {
				t.Errorf("after recovery: %q", repaired)
			}
		})
	}
}

func TestTheContextEndsEverything(t *testing.T) {
	d, _ := open(t)
	set := hashSet("S", dataplane.HashIPPort, dataplane.IPv4)
	ensure(t, d, set)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for i, err := range d.Apply(ctx, operations(dataplane.Add, numbered("S", 200)...)) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	_, ensured := d.Ensure(ctx, []dataplane.Set{set})
	_, listed := d.Sets(ctx)
	_, read := d.Entries(ctx, []string{"S"})
	for _, err := range []error{ensured, listed, read, d.Swap(ctx, "S", "T"), d.Destroy(ctx, "S"), d.Sweep(ctx, []string{"S"}), d.Grow(ctx, set), d.Replace(ctx, set)} {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if got := entriesOf(t, d, "S"); len(got) != 0 {
		t.Errorf("%d entries were added", len(got))
	}
}

func TestATypeTheKernelLacks(t *testing.T) {
	d, _ := open(t)
	if err := d.LookUpType(context.Background(), 99); !errors.Is(err, dataplane.ErrUnavailable) || !strings.Contains(err.Error(), "load module") {
		t.Error(err)
	}
}

func TestCloseTwice(t *testing.T) {
	d, _ := open(t)
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Error(err)
	}
}

// A driver that lost its socket does not go on in whatever namespace its thread is in by then.
func TestTheNamespaceIsNotLeft(t *testing.T) {
	d, _ := open(t)
	ensure(t, d, portSet("P"))
	if err := d.BreakSocket(); err != nil {
		t.Fatal(err)
	}
	other, _ := open(t)
	if _, err := d.Sets(context.Background()); !errors.Is(err, dataplane.ErrUnavailable) {
		t.Errorf("in another namespace: %v", err)
	}
	if sets, err := other.Sets(context.Background()); err != nil || len(sets) != 0 {
		t.Errorf("a driver in a fresh namespace found %v, %v", sets, err)
	}
}
