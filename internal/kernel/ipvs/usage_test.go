package ipvs

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// usageOf reads the usage of some virtual servers.
func usageOf(t *testing.T, d *Driver, of ...dataplane.VirtualServerKey) map[dataplane.VirtualServerKey]dataplane.Usage {
	t.Helper()
	found := map[dataplane.VirtualServerKey]dataplane.Usage{}
	err := d.Usage(context.Background(), of, func(key dataplane.VirtualServerKey, usage dataplane.Usage) {
		usage.Servers = append([]dataplane.Load(nil), usage.Servers...)
		found[key] = usage
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// busy gives each virtual server of a fake numbers of its own, and returns what is to be read of them.
func busy(k *fakeKernel, scale uint64) map[dataplane.VirtualServerKey]dataplane.Usage {
	want := map[dataplane.VirtualServerKey]dataplane.Usage{}
	for i, key := range keys() {
		n := uint64(i+1) * scale
		traffic := dataplane.Traffic{Connections: n, InPackets: 2 * n, OutPackets: 3 * n, InBytes: 200 * n, OutBytes: 3000 * n}
		k.services[key].traffic = traffic
		first := server(key.Family)
		second := netip.AddrPortFrom(first.Addr(), 81)
		want[key] = dataplane.Usage{Traffic: traffic, Servers: []dataplane.Load{
			{RealServer: dataplane.RealServer{Addr: first, Weight: 1}, Active: 2, Inactive: 1},
			{RealServer: dataplane.RealServer{Addr: second}, Active: 2, Inactive: 1},
		}}
	}
	return want
}

func sameUsage(t *testing.T, when string, want, got map[dataplane.VirtualServerKey]dataplane.Usage) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("%s (-want +got)\n%s", when, diff)
	}
}

// Both interfaces of the kernel tell the same, and what is not there is left out.
func TestUsage(t *testing.T) {
	k, d := older(t)
	want := busy(k.fakeKernel, 1000)
	asked := append(keys(), tcp("203.0.113.1:1"), tcp("[2001:db8::ff]:1"))
	sameUsage(t, "by both", want, usageOf(t, d, asked...))
	k.errno = unix.ENOPROTOOPT
	sameUsage(t, "by netlink alone", want, usageOf(t, d, asked...))
	k.narrow = true
	sameUsage(t, "by netlink of an old kernel", want, usageOf(t, d, asked...))
}

// A few are asked for one by one, and nothing is read about others.
func TestUsageOfFew(t *testing.T) {
	k, d := older(t)
	key := keys()[0]
	want := map[dataplane.VirtualServerKey]dataplane.Usage{key: busy(k.fakeKernel, 1000)[key]}
	k.sizes = nil
	got := map[dataplane.VirtualServerKey]dataplane.Usage{}
	err := d.UsageOfFew(context.Background(), []dataplane.VirtualServerKey{key, tcp("203.0.113.1:1")},
		func(key dataplane.VirtualServerKey, usage dataplane.Usage) {
			usage.Servers = append([]dataplane.Load(nil), usage.Servers...)
			got[key] = usage
		})
	if err != nil {
		t.Fatal(err)
	}
	sameUsage(t, "of two, one of which is not there", want, got)
	if len(k.sizes) != 3 {
		t.Errorf("%d netlink messages: two for virtual servers and one for real servers were to be sent", len(k.sizes))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.UsageOfFew(ctx, keys(), func(dataplane.VirtualServerKey, dataplane.Usage) {}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Of IPv4 no netlink message is needed.
func TestUsageOfIPv4IsCheap(t *testing.T) {
	k, d := older(t)
	want, four := busy(k.fakeKernel, 1), []dataplane.VirtualServerKey{}
	for _, key := range keys() {
		if key.Family == dataplane.IPv4 {
			four = append(four, key)
		} else {
			delete(want, key)
		}
	}
	sameUsage(t, "IPv4", want, usageOf(t, d, append(four, tcp("203.0.113.1:1"))...))
	if len(k.sizes) > 0 {
		t.Errorf("%d netlink messages", len(k.sizes))
	}
}

// The older interface has 32 bits for connections and packets; where they may be too few, the upper half is asked for.
func TestUsageBeyond32Bits(t *testing.T) {
	k, d := older(t)
	for _, scale := range []uint64{1 << 24, 1 << 31, 1 << 33} {
		sameUsage(t, "large numbers", busy(k.fakeKernel, scale), usageOf(t, d, keys()...))
	}
	k.sizes = nil
	traffic := dataplane.Traffic{Connections: 1, InPackets: 1<<32 - 1, InBytes: shortest<<32 - 1}
	key := keys()[0]
	k.services[key].traffic = traffic
	if got := usageOf(t, d, key)[key].Traffic; got != traffic || len(k.sizes) > 0 {
		t.Errorf("%+v, %d netlink messages; as long as 32 bits suffice, none is needed", got, len(k.sizes))
	}
	traffic.InPackets, traffic.InBytes = 1<<32, shortest<<32
	k.services[key].traffic = traffic
	if got := usageOf(t, d, key)[key].Traffic; got != traffic {
		t.Errorf("%+v, want %+v", got, traffic)
	}
}

// A dump can leave out a virtual server that is there; then it is asked for.
func TestUsageThatADumpLeavesOut(t *testing.T) {
	k, d := older(t)
	want := busy(k.fakeKernel, 1000)
	for _, key := range keys() {
		k.skipped = key
		sameUsage(t, key.String(), want, usageOf(t, d, keys()...))
	}
}

// Deleted between one reading and the next, it is no error.
func TestUsageOfOneThatVanishes(t *testing.T) {
	k, d := older(t)
	want, gone := busy(k.fakeKernel, 1), keys()[1]
	delete(want, gone)
	k.afterMsg = func(uint8) { delete(k.services, gone) }
	sameUsage(t, "after the dump", want, usageOf(t, d, keys()...))
}

func TestUsageFails(t *testing.T) {
	_, d := older(t)
	none := func(key dataplane.VirtualServerKey, _ dataplane.Usage) { t.Errorf("%s is visited", key) }
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.Usage(ctx, keys(), none); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := d.Usage(context.Background(), []dataplane.VirtualServerKey{{}}, none); !errors.Is(err, dataplane.ErrInvalid) {
		t.Errorf("of no virtual server: %v", err)
	}
	k, d := older(t)
	k.mangle = func(b []byte) []byte { return b[:len(b)-2] }
	if err := d.Usage(context.Background(), keys(), none); !errors.Is(err, nlbatch.ErrMalformed) {
		t.Errorf("cut off: %v", err)
	}
}

// What the kernel said of statistics, and what it never says.
func TestDecodeTraffic(t *testing.T) {
	for _, c := range captures(t, "answer-service") {
		if got, err := decodeCounters(c.body); err != nil || got.Traffic != (dataplane.Traffic{}) {
			t.Errorf("%s: %+v, %v; it was not used yet", c.command, got.Traffic, err)
		}
	}
	whole := dataplane.Traffic{Connections: 1 << 40, InPackets: 2, OutPackets: 3, InBytes: 4, OutBytes: 5}
	if got, err := decodeTraffic(appendStats(nil, whole, false)); err != nil || got != whole {
		t.Errorf("%+v, %v", got, err)
	}
	half := nlbatch.Nested(nil, svcStats64, func(b []byte) []byte { return nlbatch.Uint32(b, statsConnections, 1) })
	odd := nlbatch.Nested(nil, svcStats64, func(b []byte) []byte { return nlbatch.Uint16(b, statsConnections, 1) })
	for name, b := range map[string][]byte{"nothing": nil, "half": half, "odd": odd, "cut": half[:len(half)-1]} {
		if got, err := decodeTraffic(b); !errors.Is(err, nlbatch.ErrMalformed) || got != (dataplane.Traffic{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
