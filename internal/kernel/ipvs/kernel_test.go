package ipvs_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipvs"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
)

// openFresh opens a driver in a network namespace of the test's own, on a kernel with IPVS.
func openFresh(t testing.TB) *ipvs.Driver {
	t.Helper()
	kerneltest.NeedLab(t)
	kerneltest.Netns(t)
	return open(t)
}

func open(t testing.TB) *ipvs.Driver {
	t.Helper()
	d, err := ipvs.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func op(verb dataplane.Verb, object dataplane.Object) dataplane.Operation {
	return dataplane.Operation{Verb: verb, Object: object}
}

func add(objects ...dataplane.Object) []dataplane.Operation {
	var ops []dataplane.Operation
	for _, object := range objects {
		ops = append(ops, op(dataplane.Add, object))
	}
	return ops
}

func mustApply(t testing.TB, d *ipvs.Driver, ops ...dataplane.Operation) {
	t.Helper()
	for i, err := range d.Apply(context.Background(), ops) {
		if err != nil {
			t.Fatalf("operation %d of %d: %v", i, len(ops), err)
		}
	}
}

func key(addrPort string) dataplane.VirtualServerKey {
	ap := netip.MustParseAddrPort(addrPort)
	return dataplane.KeyOf(dataplane.TCP, ap.Addr(), ap.Port())
}

func vs(key dataplane.VirtualServerKey, scheduler string) dataplane.VirtualServer {
	return dataplane.VirtualServer{Key: key, Scheduler: scheduler, MaskBits: uint8(key.Family.Bits())}
}

func rs(key dataplane.VirtualServerKey, addrPort string, weight uint32) dataplane.Member {
	return dataplane.Member{VirtualServer: key, RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort(addrPort), Weight: weight}}
}

// everyKind is a virtual server of each kind, with its real servers' addresses.
func everyKind() map[dataplane.VirtualServerKey][2]string {
	v4, v6 := [2]string{"198.51.100.5:80", "198.51.100.6:81"}, [2]string{"[2001:db8:1::5]:80", "[2001:db8:1::6]:81"}
	kinds := map[dataplane.VirtualServerKey][2]string{
		dataplane.MarkKeyOf(dataplane.IPv4, 0x3fff): v4,
		dataplane.MarkKeyOf(dataplane.IPv6, 0x3fff): v6,
	}
	for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP, dataplane.SCTP} {
		kinds[dataplane.KeyOf(protocol, netip.MustParseAddr("192.0.2.1"), 8443)] = v4
		kinds[dataplane.KeyOf(protocol, netip.MustParseAddr("2001:db8::1"), 8443)] = v6
	}
	return kinds
}

// expect compares what the driver reads, and what ipvsadm reads, with the wanted lines in any order.
func expect(t *testing.T, d *ipvs.Driver, wanted ...string) {
	t.Helper()
	pools, _, err := d.Pools(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(wanted)
	if diff := cmp.Diff(wanted, sortedLines(dataplane.Objects{Pools: pools}.Dump())); diff != "" {
		t.Errorf("driver (-wanted +got)\n%s", diff)
	}
	out, err := exec.Command("ipvsadm", "-Sn").CombinedOutput()
	if err != nil {
		t.Fatalf("ipvsadm -Sn: %v\n%s", err, out)
	}
	printed := strings.ReplaceAll(string(out), " --tun-type ipip", "") // said of every plain tunnel
	if diff := cmp.Diff(wanted, sortedLines(printed)); diff != "" {
		t.Errorf("ipvsadm (-wanted +got)\n%s", diff)
	}
}

func sortedLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	slices.Sort(lines)
	return lines
}

func TestKernelEveryKindOfVirtualServer(t *testing.T) {
	for key, servers := range everyKind() {
		t.Run(key.String(), func(t *testing.T) {
			d := openFresh(t)
			k := key.String()
			mustApply(t, d, add(vs(key, "rr"), rs(key, servers[0], 1), rs(key, servers[1], 7))...)
			expect(t, d, "-A "+k+" -s rr", "-a "+k+" -r "+servers[0]+" -m -w 1", "-a "+k+" -r "+servers[1]+" -m -w 7")

			edited := dataplane.VirtualServer{Key: key, Scheduler: "sh", Flags: dataplane.FlagPersistent, Timeout: 10800, MaskBits: 24}
			mask := map[dataplane.Family]string{dataplane.IPv4: "255.255.255.0", dataplane.IPv6: "24"}[key.Family]
			mustApply(t, d, op(dataplane.Edit, edited), op(dataplane.Edit, rs(key, servers[1], 0)), op(dataplane.Delete, rs(key, servers[0], 0)))
			expect(t, d, "-A "+k+" -s sh -p 10800 -M "+mask, "-a "+k+" -r "+servers[1]+" -m -w 0")

			// Added again as it was: corrected.
			mustApply(t, d, add(vs(key, "rr"), rs(key, servers[0], 1), rs(key, servers[1], 7))...)
			expect(t, d, "-A "+k+" -s rr", "-a "+k+" -r "+servers[0]+" -m -w 1", "-a "+k+" -r "+servers[1]+" -m -w 7")

			mustApply(t, d, op(dataplane.Delete, rs(key, servers[0], 0)), op(dataplane.Delete, vs(key, "rr")),
				op(dataplane.Delete, vs(key, "rr")), op(dataplane.Delete, rs(key, servers[1], 0)))
			expect(t, d)
		})
	}
}

func TestKernelFlagsPersistenceAndForwarding(t *testing.T) {
	d := openFresh(t)
	k, other := key("192.0.2.1:80"), key("[2001:db8::1]:80")
	for _, test := range []struct {
		v    dataplane.VirtualServer
		want string
	}{
		{dataplane.VirtualServer{Key: k, Scheduler: "sh", Flags: dataplane.FlagFallback | dataplane.FlagHashPort, MaskBits: 32}, "-A -t 192.0.2.1:80 -s sh -b sh-fallback,sh-port"},
		{dataplane.VirtualServer{Key: k, Scheduler: "mh", Flags: dataplane.FlagHashPort, MaskBits: 32}, "-A -t 192.0.2.1:80 -s mh -b mh-port"},
		{dataplane.VirtualServer{Key: k, Scheduler: "mh", Flags: dataplane.FlagFallback, MaskBits: 32}, "-A -t 192.0.2.1:80 -s mh -b mh-fallback"},
		{dataplane.VirtualServer{Key: k, Scheduler: "lc", Flags: dataplane.FlagSched3, MaskBits: 32}, "-A -t 192.0.2.1:80 -s lc -b flag-3"},
		{dataplane.VirtualServer{Key: k, Scheduler: "wrr", Flags: dataplane.FlagPersistent, Timeout: 60, MaskBits: 32}, "-A -t 192.0.2.1:80 -s wrr -p 60"},
		{dataplane.VirtualServer{Key: k, Scheduler: "wrr", Flags: dataplane.FlagPersistent, Timeout: 61, MaskBits: 16}, "-A -t 192.0.2.1:80 -s wrr -p 61 -M 255.255.0.0"},
		{dataplane.VirtualServer{Key: k, Scheduler: "rr", MaskBits: 32}, "-A -t 192.0.2.1:80 -s rr"},
	} {
		mustApply(t, d, op(dataplane.Add, test.v))
		expect(t, d, test.want)
		pools, _, err := d.Pools(context.Background())
		if err != nil || len(pools) != 1 || pools[0].VirtualServer != test.v {
			t.Errorf("%s: read back as %+v, %v", test.v, pools, err)
		}
	}
	one := dataplane.KeyOf(dataplane.UDP, netip.MustParseAddr("192.0.2.1"), 53)
	tunnel, direct := rs(other, "198.51.100.5:80", 3), rs(k, "198.51.100.6:80", 2)
	tunnel.Forwarding, direct.Forwarding = dataplane.Tunnel, dataplane.DirectRoute
	mustApply(t, d, add(dataplane.VirtualServer{Key: one, Scheduler: "rr", Flags: dataplane.FlagOnePacket, MaskBits: 32},
		vs(other, "rr"), tunnel, direct)...)
	expect(t, d, "-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 198.51.100.6:80 -g -w 2",
		"-A -u 192.0.2.1:53 -s rr -o", "-A -t [2001:db8::1]:80 -s rr", "-a -t [2001:db8::1]:80 -r 198.51.100.5:80 -i -w 3")
}

func TestKernelErrors(t *testing.T) {
	d := openFresh(t)
	here, gone := key("192.0.2.1:80"), key("192.0.2.2:80")
	mustApply(t, d, add(vs(here, "rr"), rs(here, "198.51.100.1:80", 1))...)
	widest := vs(key("[2001:db8::1]:80"), "rr")
	widest.MaskBits = 0
	for _, test := range []struct {
		op   dataplane.Operation
		want error
	}{
		{op(dataplane.Add, vs(gone, "wrong")), dataplane.ErrNoScheduler},
		{op(dataplane.Edit, vs(here, "wrong")), dataplane.ErrNoScheduler},
		{op(dataplane.Add, vs(here, "wrong")), dataplane.ErrNoScheduler},
		{op(dataplane.Add, vs(gone, "")), dataplane.ErrNoScheduler},
		{op(dataplane.Edit, vs(gone, "rr")), dataplane.ErrNotExist},
		{op(dataplane.Delete, vs(gone, "rr")), nil},
		{op(dataplane.Add, rs(gone, "198.51.100.1:80", 1)), dataplane.ErrNotExist},
		{op(dataplane.Edit, rs(gone, "198.51.100.1:80", 1)), dataplane.ErrNotExist},
		{op(dataplane.Edit, rs(here, "198.51.100.2:80", 1)), dataplane.ErrNotExist},
		{op(dataplane.Delete, rs(here, "198.51.100.2:80", 1)), nil},
		{op(dataplane.Delete, rs(gone, "198.51.100.2:80", 1)), nil},
		{op(dataplane.Add, widest), dataplane.ErrInvalid},
		{op(dataplane.Add, rs(here, "198.51.100.2:80", 1<<31)), dataplane.ErrInvalid},
		{op(dataplane.Edit, rs(here, "198.51.100.1:80", 1<<31)), dataplane.ErrInvalid},
		{op(dataplane.Add, rs(here, "[2001:db8::5]:80", 1)), dataplane.ErrInvalid},
		{op(dataplane.Add, rs(here, "224.0.0.1:80", 1)), dataplane.ErrInvalid},
	} {
		err := d.Apply(context.Background(), []dataplane.Operation{test.op})[0]
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, not %v", test.op, err, test.want)
		}
	}
	expect(t, d, "-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 198.51.100.1:80 -m -w 1")
}

// bigBatch fills one virtual server with n-1 operations, every 97th of which must fail: by turns with ESRCH, for want of its
// virtual server, and with ENOENT, for want of the real server to change.
func bigBatch(n int) []dataplane.Operation {
	here, gone := key("192.0.2.1:80"), key("192.0.2.2:80")
	ops := add(vs(here, "rr"))
	for i := 1; i < n; i++ {
		addr := fmt.Sprintf("198.51.%d.%d:80", i/250, i%250+1)
		switch {
		case i%(2*97) == 0:
			ops = append(ops, op(dataplane.Edit, rs(here, addr, 1)))
		case i%97 == 0:
			ops = append(ops, op(dataplane.Add, rs(gone, addr, 1)))
		default:
			ops = append(ops, op(dataplane.Add, rs(here, addr, 1)))
		}
	}
	return ops
}

func checkBigBatch(t *testing.T, d *ipvs.Driver, ops []dataplane.Operation) {
	t.Helper()
	for i, err := range d.Apply(context.Background(), ops) {
		if fails := i > 0 && i%97 == 0; fails != errors.Is(err, dataplane.ErrNotExist) || !fails && err != nil {
			t.Fatalf("operation %d: %v", i, err)
		}
	}
	pools, _, err := d.Pools(context.Background())
	if want := len(ops) - 1 - (len(ops)-1)/97; err != nil || len(pools) != 1 || len(pools[0].RealServers) != want {
		t.Errorf("%d virtual servers, wanted one of %d real servers; %v", len(pools), want, err)
	}
}

func TestKernelFailuresKeepTheirPlace(t *testing.T) {
	d := openFresh(t)
	if bytes, messages := d.Limits(); bytes < 100<<10 || messages < 1000 {
		t.Errorf("sends of at most %d bytes and %d messages", bytes, messages)
	}
	ops := bigBatch(5000)
	checkBigBatch(t, d, ops)
	checkBigBatch(t, d, ops) // all there by now: every addition is refused and becomes a change
}

func TestKernelOverrunOfTheReceiveBuffer(t *testing.T) {
	d := openFresh(t)
	if err := d.SqueezeReceiveBuffer(); err != nil {
		t.Fatal(err)
	}
	ops := bigBatch(1000)
	checkBigBatch(t, d, ops)
	checkBigBatch(t, d, ops)
}

func TestKernelBrokenSocketIsReplaced(t *testing.T) {
	d := openFresh(t)
	for range 2 {
		if err := d.BreakSocket(); err != nil {
			t.Fatal(err)
		}
		checkBigBatch(t, d, bigBatch(10))
	}
	if err := d.BreakSocket(); err != nil {
		t.Fatal(err)
	}
	if pools, _, err := d.Pools(context.Background()); err != nil || len(pools) != 1 {
		t.Errorf("%d virtual servers, %v", len(pools), err)
	}
}
