package ipset_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipset"
)

// P21: exactly kube-proxy's parameters until 65,536 entries are exceeded, then a larger set and a warning. A large set is
// divided into regions, and the kernel refuses only what falls into one that is beyond its share: never before the
// maximum, but not each time after it. Hence the many entries beyond.
func TestP21AFullSetGrows(t *testing.T) {
	ctx := context.Background()
	d, warnings := open(t)
	set := hashSet("S", dataplane.HashIPPort, dataplane.IPv4)
	ensure(t, d, set)
	refer(t, "S")
	entries := numbered("S", dataplane.DefaultMaxElem+1000)
	kept, beyond := entries[:dataplane.DefaultMaxElem+1], entries[dataplane.DefaultMaxElem:]
	apply(t, d, dataplane.Add, entries[:dataplane.DefaultMaxElem]...)
	mustRun(t, createExist(set))
	if len(*warnings) > 0 {
		t.Errorf("warned too early: %q", *warnings)
	}
	// What could not be added at first is deleted later in the batch: that order holds across the growth.
	batch := append(operations(dataplane.Add, beyond...), operations(dataplane.Delete, beyond[1:]...)...)
	for i, err := range d.Apply(ctx, batch) {
		if err != nil {
			t.Errorf("%s: %v", batch[i], err)
		}
	}
	if got := entriesOf(t, d, "S"); !slices.Equal(got, kept) {
		t.Errorf("%d entries, want %d", len(got), len(kept))
	}
	if len(*warnings) != 1 || !strings.Contains((*warnings)[0], "131072") {
		t.Errorf("warnings %q", *warnings)
	}
	if repaired := ensure(t, d, set); repaired != nil {
		t.Errorf("a grown set was repaired: %q", repaired)
	}
	if names := mustRun(t, "ipset list -n"); names != "S\n" {
		t.Errorf("sets: %q", names)
	}
}

func TestP21GrowthCoversTheWholeBatch(t *testing.T) {
	d, warnings := open(t)
	small, other := hashSet("S", dataplane.HashIPPort, dataplane.IPv4), hashSet("O", dataplane.HashIPPort, dataplane.IPv4)
	small.MaxElem, small.Marks, other.MaxElem = 100, true, 10
	ensure(t, d, small, other)
	entries := append(numbered("S", 2000), numbered("O", 21)...)
	for i := range 2000 {
		entries[i].Mark = uint32(i)
	}
	apply(t, d, dataplane.Add, entries...)
	if got := entriesOf(t, d, "S"); !slices.Equal(got, entries[:2000]) {
		t.Errorf("S has %d entries", len(got))
	}
	if got := entriesOf(t, d, "O"); !slices.Equal(got, entries[2000:]) {
		t.Errorf("O has %d entries", len(got))
	}
	if len(*warnings) != 2 {
		t.Errorf("each set should have grown once: %q", *warnings)
	}
}

func TestP21AGrowthThatFailsIsReported(t *testing.T) {
	d, _ := open(t)
	small, other := hashSet("S", dataplane.HashIPPort, dataplane.IPv4), hashSet("O", dataplane.HashIPPort, dataplane.IPv4)
	small.MaxElem, other.MaxElem = 100, 100
	ensure(t, d, small, other)
	mustRun(t, "ipset create "+ipset.TemporaryName("S")+" hash:ip,port")
	refer(t, ipset.TemporaryName("S"))
	batch := operations(dataplane.Add, append(numbered("S", 120), numbered("O", 120)...)...)
	for i, err := range d.Apply(context.Background(), batch) {
		failing := i >= 100 && i < 120
		if failing != errors.Is(err, dataplane.ErrSetFull) || failing != errors.Is(err, unix.EBUSY) || failing != (err != nil) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	if got := len(entriesOf(t, d, "S")); got != 100 {
		t.Errorf("the set kept %d entries", got)
	}
}

func TestGrowRefusals(t *testing.T) {
	ctx := context.Background()
	d, warnings := open(t)
	set := hashSet("S", dataplane.HashIPPort, dataplane.IPv4)
	ensure(t, d, set)
	huge, six, gone := set, hashSet("S", dataplane.HashIPPort, dataplane.IPv6), hashSet("GONE", dataplane.HashIP, dataplane.IPv4)
	huge.MaxElem = ipset.MaxElements + 1
	for _, c := range []struct {
		set  dataplane.Set
		want error
	}{{set, nil}, {huge, dataplane.ErrSetFull}, {six, dataplane.ErrConflict}, {gone, dataplane.ErrNotExist}, {dataplane.Set{Name: "S"}, dataplane.ErrInvalid}} {
		if err := d.Grow(ctx, c.set); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.set, err, c.want)
		}
	}
	if len(*warnings) > 0 {
		t.Errorf("warnings %q", *warnings)
	}
}

// The kernel neither swaps nor destroys a set that somebody is reading.
func TestASetBeingReadStaysAsItIs(t *testing.T) {
	ctx := context.Background()
	d, _ := open(t)
	set := hashSet("S", dataplane.HashIPPort, dataplane.IPv4)
	set.MaxElem = 2000 // small enough for the hash to stay in one region, where the limit is exact
	ensure(t, d, set)
	entries := numbered("S", 2000) // more than the 32 KiB that one datagram of a dump holds
	apply(t, d, dataplane.Add, entries...)
	reader, err := ipset.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.BeginReading("S"); err != nil {
		t.Fatal(err)
	}
	larger := hashSet("S", dataplane.HashIPPort, dataplane.IPv4)
	if _, err := d.Ensure(ctx, []dataplane.Set{larger}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("Ensure: %v", err)
	}
	more := dataplane.Entry{Set: "S", Addr: entries[0].Addr, Protocol: dataplane.UDP, Port: 1}
	err = d.Apply(ctx, operations(dataplane.Add, more))[0]
	if !errors.Is(err, unix.EBUSY) || !errors.Is(err, dataplane.ErrSetFull) {
		t.Errorf("Apply: %v", err)
	}
	if names := mustRun(t, "ipset list -n"); names != "S\n" || !slices.Equal(entriesOf(t, d, "S"), entries) {
		t.Errorf("the set changed; sets: %q", names)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	apply(t, d, dataplane.Add, more)
}

func TestGrowthEndsSomewhere(t *testing.T) {
	ctx := context.Background()
	d, _ := open(t)
	ensure(t, d, hashSet("S", dataplane.HashIPPort, dataplane.IPv4))
	if err := d.GrowBy(ctx, "S", ipset.MaxElements); err != nil {
		t.Error(err)
	}
	sets, err := d.Sets(ctx)
	if err != nil || len(sets) != 1 || sets[0].MaxElem != ipset.MaxElements {
		t.Errorf("sets %v, %v", sets, err)
	}
	if err := d.GrowBy(ctx, "S", 1); !errors.Is(err, dataplane.ErrSetFull) {
		t.Errorf("beyond the end: %v", err)
	}
	if err := d.GrowBy(ctx, "GONE", 1); !errors.Is(err, dataplane.ErrNotExist) {
		t.Errorf("a missing set: %v", err)
	}
}

// A packet to a member never finds the set without it while the set is replaced again and again.
func TestP21NoPacketSeesAGap(t *testing.T) {
	ctx := context.Background()
	d, _ := open(t)
	listener, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	to := listener.LocalAddr().(*net.UDPAddr)
	set := hashSet("S", dataplane.HashIPPort, dataplane.IPv4)
	set.MaxElem = 5000
	ensure(t, d, set)
	member := dataplane.Entry{Set: "S", Addr: to.AddrPort().Addr(), Protocol: dataplane.UDP, Port: to.AddrPort().Port()}
	apply(t, d, dataplane.Add, append(numbered("S", 1000), member)...)
	rule := "OUTPUT -p udp -m set ! --match-set S dst,dst -j DROP"
	mustRun(t, "iptables -w -A "+rule)
	var stop atomic.Bool
	outcome := make(chan error, 1)
	sent := 0
	go func() { // sockets stay in the namespace in which they were opened
		for !stop.Load() {
			if _, err := listener.WriteTo([]byte("x"), to); err != nil {
				outcome <- err // EPERM: the rule dropped it
				return
			}
			sent++
		}
		outcome <- nil
	}()
	for range 50 {
		set.MaxElem++
		if err := d.Grow(ctx, set); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	if err := <-outcome; err != nil || sent < 50 {
		t.Errorf("after %d packets: %v", sent, err)
	}
	apply(t, d, dataplane.Delete, member)
	if _, err := listener.WriteTo([]byte("x"), to); err == nil {
		t.Error("the rule does not drop what is missing, so that this test proves nothing")
	}
}
