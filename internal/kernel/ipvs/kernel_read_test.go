package ipvs_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipvs"
)

// Runs everywhere: with IPVS the driver opens, without it the error says what to do.
func TestOpenTellsWhetherThereIsIPVS(t *testing.T) {
	d, err := ipvs.Open()
	if err == nil {
		err = d.Close()
	} else if errors.Is(err, dataplane.ErrUnavailable) && regexp.MustCompile("modprobe ip_vs").MatchString(err.Error()) {
		return
	}
	if err != nil {
		t.Error(err)
	}
}

// What another implementation reads is what was written, and the other way round.
func TestKernelAgreesWithMoby(t *testing.T) {
	d := openFresh(t)
	for key, servers := range everyKind() {
		mustApply(t, d, add(vs(key, "sh"), rs(key, servers[0], 3))...)
	}
	handle, err := moby.New("")
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	services, err := handle.GetServices()
	if err != nil || len(services) != len(everyKind()) {
		t.Fatalf("%d services, %v", len(services), err)
	}
	for _, s := range services {
		family := map[uint16]dataplane.Family{unix.AF_INET: dataplane.IPv4, unix.AF_INET6: dataplane.IPv6}[s.AddressFamily]
		key := dataplane.MarkKeyOf(family, s.FWMark)
		if s.FWMark == 0 {
			addr, _ := netip.AddrFromSlice(s.Address)
			key = dataplane.KeyOf(dataplane.Protocol(s.Protocol), addr, s.Port)
		}
		servers, known := everyKind()[key]
		dests, err := handle.GetDestinations(s)
		if !known || err != nil || len(dests) != 1 || s.SchedName != "sh" {
			t.Errorf("%s: known %v, scheduler %s, %d real servers, %v", key, known, s.SchedName, len(dests), err)
			continue
		}
		addr, _ := netip.AddrFromSlice(dests[0].Address)
		if got := netip.AddrPortFrom(addr, dests[0].Port); got != netip.MustParseAddrPort(servers[0]) || dests[0].Weight != 3 {
			t.Errorf("%s: real server %s of weight %d", key, got, dests[0].Weight)
		}
	}
	if err := handle.Flush(); err != nil {
		t.Fatal(err)
	}
	expect(t, d)
	mask := uint32(0xffffffff)
	if err := handle.NewService(&moby.Service{Address: net.IPv4(192, 0, 2, 7).To4(), Protocol: unix.IPPROTO_UDP, Port: 53,
		SchedName: "lc", Flags: 1, Timeout: 90, Netmask: mask, AddressFamily: unix.AF_INET}); err != nil {
		t.Fatal(err)
	}
	expect(t, d, "-A -u 192.0.2.7:53 -s lc -p 90")
}

func TestP29KernelCheckScheduler(t *testing.T) {
	d := openFresh(t)
	ctx := context.Background()
	for _, name := range []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "fo", "ovf", "mh"} {
		if err := d.CheckScheduler(ctx, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"wrong", "", "sixteen-letters-"} {
		err := d.CheckScheduler(ctx, name)
		if !errors.Is(err, dataplane.ErrNoScheduler) || !regexp.MustCompile("modprobe ip_vs_"+name).MatchString(err.Error()) {
			t.Errorf("%q: %v", name, err)
		}
	}
	expect(t, d)
}

func TestKernelTimeouts(t *testing.T) {
	d := openFresh(t)
	ctx := context.Background()
	if err := d.SetTimeouts(ctx, ipvs.Timeouts{TCP: time.Hour, TCPFin: 90 * time.Second, UDP: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if err := d.SetTimeouts(ctx, ipvs.Timeouts{UDP: 1500 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	want := ipvs.Timeouts{TCP: time.Hour, TCPFin: 90 * time.Second, UDP: 2 * time.Second}
	if got, err := d.Timeouts(ctx); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	out, err := exec.Command("ipvsadm", "-L", "--timeout").CombinedOutput()
	if err != nil || !regexp.MustCompile(`\b3600 90 2\b`).Match(out) {
		t.Errorf("ipvsadm: %s, %v", out, err)
	}
	if err := d.SetTimeouts(ctx, ipvs.Timeouts{TCP: 1 << 62}); !errors.Is(err, dataplane.ErrInvalid) {
		t.Errorf("more than the kernel counts: %v", err)
	}
}

func TestKernelConnections(t *testing.T) {
	d := openFresh(t)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	k := key("127.0.0.2:8080")
	target := listener.Addr().(*net.TCPAddr).AddrPort()
	mustApply(t, d, add(vs(k, "rr"), rs(k, target.String(), 1))...)
	ctx := context.Background()
	for range 3 {
		conn, err := net.DialTimeout("tcp4", "127.0.0.2:8080", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	got, err := d.Connections(ctx, []dataplane.VirtualServerKey{k, key("127.0.0.3:1")})
	if err != nil || len(got) != 1 || got[k][target] != 3 {
		t.Errorf("connections %v, %v", got, err)
	}
	if _, draining, err := d.Pools(ctx); err != nil || len(draining) != 0 {
		t.Errorf("draining %v, %v", draining, err)
	}
	mustApply(t, d, op(dataplane.Edit, rs(k, target.String(), 0)))
	want := map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32{k: {target: 3}}
	_, draining, err := d.Pools(ctx)
	if diff := cmp.Diff(want, draining, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("draining (-wanted +got)\n%s%v", diff, err)
	}
}

// A real server pool that takes several datagrams, and one that takes many.
func TestKernelBigPools(t *testing.T) {
	d := openFresh(t)
	var ops []dataplane.Operation
	for _, size := range []int{0, 1, 700} {
		k := key("192.0.2.1:" + strconv.Itoa(1000+size))
		ops = append(ops, op(dataplane.Add, vs(k, "rr")))
		for i := range size {
			ops = append(ops, op(dataplane.Add, rs(k, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i / 250), byte(i%250 + 1)}), 80).String(), uint32(i%2))))
		}
	}
	mustApply(t, d, ops...)
	var lines []string
	for _, op := range ops {
		lines = append(lines, op.Object.String())
	}
	expect(t, d, lines...)
	_, draining, err := d.Pools(context.Background())
	if got := len(draining[key("192.0.2.1:1700")]); err != nil || got != 350 {
		t.Errorf("%d draining real servers, %v", got, err)
	}
}

// Others change the table while it is read: no error, and what nobody touches is there.
func TestKernelReadsWhileOthersWrite(t *testing.T) {
	d, other := openFresh(t), open(t)
	steady, restless := key("192.0.2.1:80"), key("192.0.2.2:80")
	mustApply(t, d, add(vs(steady, "rr"), rs(steady, "198.51.100.1:80", 1))...)
	ctx, cancel := context.WithCancel(context.Background())
	var meddler sync.WaitGroup
	meddler.Go(func() {
		for ctx.Err() == nil {
			for _, err := range other.Apply(context.Background(), append(add(vs(restless, "rr"), rs(restless, "198.51.100.1:80", 1)), op(dataplane.Delete, vs(restless, "rr")))) {
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 200 {
		pools, _, err := d.Pools(ctx)
		found := false
		for _, pool := range pools {
			found = found || pool.Key == steady && len(pool.RealServers) == 1
		}
		if err != nil || !found {
			t.Errorf("read %v, %v", pools, err)
			break
		}
	}
	cancel()
	meddler.Wait()
}

// The number of the netlink family changes when the module is loaded anew; a driver that is open lives on.
func TestKernelStaleFamily(t *testing.T) {
	d := openFresh(t)
	k := key("192.0.2.1:80")
	mustApply(t, d, add(vs(k, "rr"), rs(k, "198.51.100.1:80", 1))...)
	d.ForgetFamily()
	expect(t, d, "-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 198.51.100.1:80 -m -w 1")
	d.ForgetFamily()
	mustApply(t, d, op(dataplane.Delete, vs(k, "rr")))
	d.ForgetFamily()
	mustApply(t, d, add(vs(k, "sh"), rs(k, "198.51.100.1:80", 2))...)
	expect(t, d, "-A -t 192.0.2.1:80 -s sh", "-a -t 192.0.2.1:80 -r 198.51.100.1:80 -m -w 2")
	d.ForgetFamily()
	if err := d.CheckScheduler(context.Background(), "wrong"); !errors.Is(err, dataplane.ErrNoScheduler) {
		t.Error(err)
	}
}

func TestKernelWithoutCapability(t *testing.T) {
	d := openFresh(t)
	k := key("192.0.2.1:80")
	dropNetAdmin(t)
	ctx := context.Background()
	late, err := ipvs.Open()
	if err != nil {
		t.Fatal(err) // finding the family needs no capability
	}
	defer late.Close()
	for name, d := range map[string]*ipvs.Driver{"opened before": d, "opened after": late} {
		if err := d.Apply(ctx, add(vs(k, "rr")))[0]; !errors.Is(err, dataplane.ErrPermission) {
			t.Errorf("%s: add: %v", name, err)
		}
		if _, _, err := d.Pools(ctx); !errors.Is(err, dataplane.ErrPermission) {
			t.Errorf("%s: read: %v", name, err)
		}
		if err := d.CheckScheduler(ctx, "rr"); !errors.Is(err, dataplane.ErrPermission) {
			t.Errorf("%s: check: %v", name, err)
		}
		if err := d.SetTimeouts(ctx, ipvs.Timeouts{TCP: time.Hour}); !errors.Is(err, dataplane.ErrPermission) {
			t.Errorf("%s: set timeouts: %v", name, err)
		}
		if _, err := d.Timeouts(ctx); !errors.Is(err, dataplane.ErrPermission) {
			t.Errorf("%s: read timeouts: %v", name, err)
		}
	}
	if _, messages := late.Limits(); messages < 1 {
		t.Errorf("sends of %d messages", messages)
	}
}

// dropNetAdmin takes CAP_NET_ADMIN from the test's thread, which Netns has locked, until the test ends.
func dropNetAdmin(t *testing.T) {
	t.Helper()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before [2]unix.CapUserData
	if err := unix.Capget(&hdr, &before[0]); err != nil {
		t.Fatal(err)
	}
	without := before
	without[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&hdr, &without[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Capset(&hdr, &before[0]); err != nil {
			t.Errorf("get CAP_NET_ADMIN back: %v", err)
		}
	})
}

// The two interfaces of the kernel tell the same, also of what others put there: a real server of IPv6 behind a virtual
// server of IPv4, which the older one hides.
func TestKernelInterfacesAgree(t *testing.T) {
	d, byNetlink := openFresh(t), open(t)
	if err := byNetlink.ByNetlink(); err != nil {
		t.Fatal(err)
	}
	for key, servers := range everyKind() {
		mustApply(t, d, add(vs(key, "mh"), rs(key, servers[0], 3), rs(key, servers[1], 0))...)
	}
	for _, line := range []string{
		"-A -t 192.0.2.9:80 -s sh -b sh-port,sh-fallback -p 77 -M 255.255.0.0",
		"-a -t 192.0.2.9:80 -r 198.51.100.1:81 -g -w 2",
		"-A -u 192.0.2.9:53 -s wlc -o",
		"-a -u 192.0.2.9:53 -r [2001:db8:1::9]:53 -i -w 5",
		"-A -f 77 -s rr",
	} {
		if out, err := exec.Command("ipvsadm", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ipvsadm %s: %v: %s", line, err, out)
		}
	}
	ctx := context.Background()
	want, wantDraining, wantErr := byNetlink.Pools(ctx)
	got, gotDraining, err := d.Pools(ctx)
	if err := errors.Join(wantErr, err); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dataplane.Objects{Pools: want}.Dump(), dataplane.Objects{Pools: got}.Dump()); diff != "" {
		t.Errorf("(-by netlink +by both)\n%s", diff)
	}
	compare := []cmp.Option{cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
	if diff := cmp.Diff(wantDraining, gotDraining, compare...); diff != "" || len(got) != len(everyKind())+3 {
		t.Errorf("%d virtual servers, draining (-by netlink +by both)\n%s", len(got), diff)
	}
}
