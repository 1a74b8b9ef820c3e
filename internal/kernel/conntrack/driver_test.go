package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

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
	return d
}

// track creates an entry as IPVS leaves it: the client sent to the virtual server, the real server answers.
func track(t *testing.T, protocol dataplane.Protocol, client, virtual, real string) {
	t.Helper()
	e := entryOf(protocol, client, virtual, real)
	args := []string{"-I", "-p", protocol.String(), "-t", "300"}
	if protocol == dataplane.TCP {
		args = append(args, "--state", "ESTABLISHED")
	}
	if protocol == dataplane.SCTP {
		args = append(args, "--state", "ESTABLISHED", "--orig-vtag", "1", "--reply-vtag", "2")
	}
	args = append(args, "-s", e.original.from.Addr().String(), "-d", e.original.to.Addr().String(),
		"--sport", fmt.Sprint(e.original.from.Port()), "--dport", fmt.Sprint(e.original.to.Port()),
		"-r", e.reply.from.Addr().String(), "-q", e.reply.to.Addr().String(),
		"--reply-port-src", fmt.Sprint(e.reply.from.Port()), "--reply-port-dst", fmt.Sprint(e.reply.to.Port()))
	if out, err := exec.Command("conntrack", args...).CombinedOutput(); err != nil {
		t.Fatalf("conntrack %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// tracked returns the client ports of the entries that are left, per family.
func tracked(t *testing.T) []string {
	t.Helper()
	var left []string
	for _, family := range []string{"ipv4", "ipv6"} {
		out, err := exec.Command("conntrack", "-L", "-f", family).Output()
		if err != nil {
			t.Fatalf("conntrack -L: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			_, port, _ := strings.Cut(line, "sport=")
			port, _, _ = strings.Cut(port, " ")
			left = append(left, port)
		}
	}
	slices.Sort(left)
	return left
}

// P09: only the entries of the flows named go, of both families and whatever the client.
func TestDelete(t *testing.T) {
	d := open(t)
	track(t, dataplane.UDP, "10.2.0.1:4001", "10.96.0.10:53", "10.1.0.1:5353")
	track(t, dataplane.UDP, "10.2.0.2:4002", "10.96.0.10:53", "10.1.0.1:5353")
	track(t, dataplane.UDP, "10.2.0.1:4003", "10.96.0.10:53", "10.1.0.2:5353")
	track(t, dataplane.UDP, "10.2.0.1:4004", "10.1.0.1:5353", "10.1.0.1:5353")
	track(t, dataplane.TCP, "10.2.0.1:4005", "10.96.0.10:53", "10.1.0.1:5353")
	track(t, dataplane.UDP, "[fd00:2::1]:4006", "[fd00::10]:53", "[fd00:1::1]:5353")
	track(t, dataplane.SCTP, "10.2.0.1:4007", "10.96.0.10:99", "10.1.0.1:5353")
	flows := []dataplane.Flows{
		flowsOf(dataplane.UDP, "10.96.0.10:53", "10.1.0.1:5353"),
		flowsOf(dataplane.UDP, "10.96.0.99:53", "10.1.0.1:5353"), // none there
		flowsOf(dataplane.TCP, "10.96.0.10:53", "10.1.0.1:5353"),
	}
	for range 2 {
		results := d.Delete(t.Context(), flows)
		if results[0] != nil || results[1] != nil || !errors.Is(results[2], dataplane.ErrInvalid) {
			t.Errorf("results %v", results)
		}
		if got, want := tracked(t), []string{"4003", "4004", "4005", "4006", "4007"}; !slices.Equal(got, want) {
			t.Errorf("left are the entries of ports %v, want %v", got, want)
		}
	}
	results := d.Delete(t.Context(), []dataplane.Flows{
		flowsOf(dataplane.SCTP, "10.96.0.10:99", "10.1.0.1:5353"),
		flowsOf(dataplane.UDP, "10.96.0.10:53", "10.1.0.2:5353"),
		flowsOf(dataplane.UDP, "[fd00::10]:53", "[fd00:1::1]:5353"),
	})
	if err := errors.Join(results...); err != nil {
		t.Error(err)
	}
	if got, want := tracked(t), []string{"4004", "4005"}; !slices.Equal(got, want) {
		t.Errorf("left are the entries of ports %v, want %v", got, want)
	}
}

// Every pass is reported, with the entries that it deleted; one that finds nothing is one too.
func TestPassesAreReported(t *testing.T) {
	kerneltest.Netns(t)
	var passes []Pass
	now := time.Unix(0, 0)
	d, err := Open(WithReport(func() time.Time { now = now.Add(time.Second); return now }, func(p Pass) { passes = append(passes, p) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	track(t, dataplane.UDP, "10.2.0.1:4001", "10.96.0.10:53", "10.1.0.1:5353")
	track(t, dataplane.UDP, "10.2.0.2:4002", "10.96.0.10:53", "10.1.0.1:5353")
	flows := []dataplane.Flows{flowsOf(dataplane.UDP, "10.96.0.10:53", "10.1.0.1:5353"), flowsOf(dataplane.UDP, "[fd00::10]:53", "[fd00:1::1]:5353")}
	for range 2 {
		if err := errors.Join(d.Delete(t.Context(), flows)...); err != nil {
			t.Fatal(err)
		}
	}
	d.Delete(t.Context(), []dataplane.Flows{flowsOf(dataplane.TCP, "10.96.0.10:53", "10.1.0.1:5353")}) // refused: no pass
	want := []Pass{{dataplane.IPv4, time.Second, 2}, {dataplane.IPv6, time.Second, 0}, {dataplane.IPv4, time.Second, 0}, {dataplane.IPv6, time.Second, 0}}
	if !slices.Equal(passes, want) {
		t.Errorf("passes %v, want %v", passes, want)
	}
}

// The kernel leaves other protocols out of the dump, so that many TCP connections cost nothing.
func TestDumpIsFiltered(t *testing.T) {
	d := open(t)
	track(t, dataplane.TCP, "10.2.0.1:4001", "10.96.0.10:53", "10.1.0.1:5353")
	track(t, dataplane.UDP, "10.2.0.1:4002", "10.96.0.10:53", "10.1.0.1:5353")
	all := matcher{}
	for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
		e := entryOf(protocol, "10.2.0.1:1", "10.96.0.10:53", "10.1.0.1:5353")
		all[flow{protocol, e.original.to, e.reply.from}] = []int{0}
	}
	for protocol, want := range map[dataplane.Protocol]int{0: 2, dataplane.UDP: 1, dataplane.SCTP: 0} {
		got, err := d.dump(t.Context(), dataplane.IPv4, protocol, all)
		if err != nil || len(got) != want {
			t.Errorf("a dump of protocol %d: %d entries, %v; want %d", protocol, len(got), err, want)
		}
	}
}

// Entries that vanish between the look and the deletion (ENOENT in the middle of a batch) are as good as deleted, and keep
// no other from being deleted.
func TestEntriesThatVanish(t *testing.T) {
	d := open(t)
	virtual, real := netip.MustParseAddrPort("10.96.0.10:53"), netip.MustParseAddrPort("10.1.0.1:5353")
	trackMany(t, 100, virtual, real)
	m := newMatcher([]dataplane.Flows{flowsOf(dataplane.UDP, virtual.String(), real.String())}, []int{0})
	stale, err := d.stale(t.Context(), dataplane.IPv4, m)
	if err != nil || len(stale) != 100 {
		t.Fatalf("%d entries, %v", len(stale), err)
	}
	for _, one := range []int{0, 49, 50, 99} {
		results := make([]error, 1)
		d.deleteEntries(t.Context(), dataplane.IPv4, stale[one:one+1], m, results)
		if results[0] != nil {
			t.Error(results[0])
		}
	}
	if left := tracked(t); len(left) != 96 {
		t.Errorf("left are %d entries, not 96", len(left))
	}
	results := make([]error, 1)
	d.deleteEntries(t.Context(), dataplane.IPv4, stale, m, results)
	if left := tracked(t); results[0] != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, results[0])
	}
}

// The kernel's answers really do not fit: nothing is left behind all the same.
func TestOverrunOfTheReceiveBuffer(t *testing.T) {
	d := open(t)
	wire, _ := d.conn.Wire()
	if err := unix.SetsockoptInt(wire.(*nlbatch.Socket).FD(), unix.SOL_SOCKET, unix.SO_RCVBUF, 0); err != nil {
		t.Fatal(err)
	}
	virtual, real := netip.MustParseAddrPort("10.96.0.10:53"), netip.MustParseAddrPort("10.1.0.1:5353")
	trackMany(t, 300, virtual, real)
	flows := []dataplane.Flows{flowsOf(dataplane.UDP, virtual.String(), real.String())}
	if err := d.Delete(t.Context(), flows)[0]; err != nil {
		t.Error(err)
	}
	if left := tracked(t); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// A real flow, translated by the kernel itself.
func TestDeleteRealFlow(t *testing.T) {
	d := open(t)
	if out, err := exec.Command("iptables", "-w", "-t", "nat", "-A", "OUTPUT", "-p", "udp", "-d", "127.0.0.53", "--dport", "53",
		"-j", "DNAT", "--to-destination", "127.0.0.2:5353").CombinedOutput(); err != nil {
		t.Fatalf("iptables: %v\n%s", err, out)
	}
	conn, err := net.Dial("udp4", "127.0.0.53:53")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := tracked(t); !slices.Contains(got, fmt.Sprint(conn.LocalAddr().(*net.UDPAddr).Port)) {
		t.Fatalf("the kernel does not track the flow: %v", got)
	}
	results := d.Delete(t.Context(), []dataplane.Flows{flowsOf(dataplane.UDP, "127.0.0.53:53", "127.0.0.2:5353")})
	if results[0] != nil {
		t.Error(results[0])
	}
	for _, port := range tracked(t) {
		if port == fmt.Sprint(conn.LocalAddr().(*net.UDPAddr).Port) {
			t.Error("the entry is still there")
		}
	}
}

// P05: a broken socket is opened again.
func TestReopens(t *testing.T) {
	d := open(t)
	track(t, dataplane.UDP, "10.2.0.1:4001", "10.96.0.10:53", "10.1.0.1:5353")
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	wire, _ := d.conn.Wire()
	if err := unix.Dup3(int(null.Fd()), wire.(*nlbatch.Socket).FD(), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	flows := []dataplane.Flows{flowsOf(dataplane.UDP, "10.96.0.10:53", "10.1.0.1:5353")}
	if err := d.Delete(t.Context(), flows)[0]; err != nil {
		t.Error(err)
	}
	if left := tracked(t); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Delete(ended, flows)[0]; !errors.Is(err, context.Canceled) {
		t.Errorf("after the context ended: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := d.Delete(t.Context(), flows)[0]; !errors.Is(err, os.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func TestTyped(t *testing.T) {
	for errno, want := range map[unix.Errno]error{
		unix.EPERM: dataplane.ErrPermission, unix.EINVAL: dataplane.ErrInvalid, unix.EPROTONOSUPPORT: dataplane.ErrUnavailable,
	} {
		if err := typed(fmt.Errorf("around: %w", errno)); !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v became %v", errno, err)
		}
	}
}
