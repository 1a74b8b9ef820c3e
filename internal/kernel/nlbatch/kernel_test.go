package nlbatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
)

// openRoute returns a Conn to the routing subsystem of a fresh network namespace; every kernel has it.
func openRoute(t testing.TB) *Conn {
	t.Helper()
	kerneltest.Netns(t)
	c := New(Dialer(unix.NETLINK_ROUTE))
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	return c
}

// lo is the index of the loopback interface in a fresh namespace.
const lo = 1

// newAddress encodes RTM_NEWADDR for 10.0.x.x, number i, on an interface.
func newAddress(b []byte, i, index int, bits uint8) []byte {
	b = Begin(b, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b = append(b, unix.AF_INET, bits, 0, unix.RT_SCOPE_UNIVERSE)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = Bytes(b, unix.IFA_LOCAL, []byte{10, 0, byte(i >> 8), byte(i)})
	return Bytes(b, unix.IFA_ADDRESS, []byte{10, 0, byte(i >> 8), byte(i)})
}

// addresses returns how many of IPv4 the namespace has.
func addresses(t testing.TB, c *Conn) int {
	t.Helper()
	found, err := Query(context.Background(), c, func(b []byte) []byte {
		return append(Begin(b, unix.RTM_GETADDR, unix.NLM_F_DUMP), unix.AF_INET, 0, 0, 0, 0, 0, 0, 0)
	}, func(m Message) (uint16, error) { return m.Type, nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range found {
		if kind != unix.RTM_NEWADDR {
			t.Errorf("an answer of type %d", kind)
		}
	}
	return len(found)
}

// mixed adds n addresses, of which every seventh is on an interface that does not exist and every eleventh has no sense.
func mixed(c *Conn, n int) (answers []error, want []unix.Errno, good int) {
	for i := range n {
		switch {
		case i%7 == 3:
			want = append(want, unix.ENODEV)
		case i%11 == 5:
			want = append(want, unix.EINVAL)
		default:
			want = append(want, 0)
			good++
		}
	}
	return c.Batch(context.Background(), n, func(b []byte, i int) []byte {
		switch want[i] {
		case unix.ENODEV:
			return newAddress(b, i+1, 4711, 32)
		case unix.EINVAL:
			return newAddress(b, i+1, lo, 77)
		}
		return newAddress(b, i+1, lo, 32)
	}), want, good
}

func TestKernelRefusalsAmongMany(t *testing.T) {
	c := openRoute(t)
	before := addresses(t, c)
	answers, want, good := mixed(c, 3000)
	explained := false
	for i, err := range answers {
		if RefusedWith(err) != want[i] || (err == nil) != (want[i] == 0) {
			t.Fatalf("operation %d: %v, want %v", i, err, want[i])
		}
		explained = explained || want[i] == unix.EINVAL && strings.Contains(err.Error(), "Invalid prefix length")
	}
	if !explained && explains(t) {
		t.Errorf("the kernel does not explain itself: %v", answers[5])
	}
	if got := addresses(t, c) - before; got != good {
		t.Errorf("%d addresses, want %d", got, good)
	}
	for i, err := range func() []error { again, _, _ := mixed(c, 3000); return again }() {
		if want[i] == 0 && RefusedWith(err) != unix.EEXIST {
			t.Fatalf("operation %d again: %v", i, err)
		}
	}
}

// explains reports whether the kernel says why it refuses a prefix length (Linux 6.6).
func explains(t *testing.T) bool {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 6
}

// The receive buffer is really too small for the answers: they are lost, and asked for again until all are known.
func TestKernelOverrunOfTheReceiveBuffer(t *testing.T) {
	c := openRoute(t)
	if err := unix.SetsockoptInt(c.wire.(*Socket).FD(), unix.SOL_SOCKET, unix.SO_RCVBUF, 0); err != nil {
		t.Fatal(err)
	}
	first := c.wire
	lost := 0
	c.wire = &counting{Wire: c.wire, lost: &lost}
	before := addresses(t, c)
	answers, want, good := mixed(c, 500)
	for i, err := range answers {
		if RefusedWith(err) != want[i] && RefusedWith(err) != unix.EEXIST || errors.Is(err, dataplane.ErrUnknown) {
			t.Fatalf("operation %d: %v, want %v", i, err, want[i])
		}
	}
	if lost == 0 {
		t.Error("nothing was lost")
	}
	if got := addresses(t, c) - before; got != good {
		t.Errorf("%d addresses, want %d", got, good)
	}
	if c.wire.(*counting).Wire != first {
		t.Error("the socket was replaced, so that not the small buffer was tested")
	}
}

// deaf loses every answer.
type deaf struct{ Wire }

func (w deaf) Receive(b []byte) (int, error) {
	if _, err := w.Wire.Receive(b); err != nil {
		return 0, err
	}
	return 0, unix.ENOBUFS
}

// When no answer ever arrives, the outcome is unknown, and reading it anew tells: here the kernel has done it all.
func TestKernelOutcomeUnknown(t *testing.T) {
	c := openRoute(t)
	before := addresses(t, c)
	hearing := c.wire
	c.wire = deaf{hearing}
	answers, _, good := mixed(c, 50)
	for i, err := range answers {
		if !errors.Is(err, dataplane.ErrUnknown) || RefusedWith(err) != 0 {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	c.wire = hearing
	if got := addresses(t, c) - before; got != good {
		t.Errorf("%d addresses, want %d", got, good)
	}
}

// counting counts the overruns.
type counting struct {
	Wire
	lost *int
}

func (w *counting) Receive(b []byte) (int, error) {
	n, err := w.Wire.Receive(b)
	if err == unix.ENOBUFS {
		*w.lost++
	}
	return n, err
}

func TestKernelNamespaceIsNotLeft(t *testing.T) {
	c := openRoute(t)
	if err := c.drop(); err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(); err != nil {
		t.Errorf("in the same namespace: %v", err)
	}
	if err := c.drop(); err != nil {
		t.Fatal(err)
	}
	kerneltest.Netns(t)
	if err := c.Connect(); !errors.Is(err, dataplane.ErrUnavailable) {
		t.Errorf("in another namespace: %v", err)
	}
}

// P05: the descriptor has become a socket of another kind.
func TestKernelBrokenSocketIsReplaced(t *testing.T) {
	for _, kind := range []int{unix.AF_UNIX, unix.AF_INET} {
		c := openRoute(t)
		fd, err := unix.Socket(kind, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Dup3(fd, c.wire.(*Socket).FD(), unix.O_CLOEXEC), unix.Close(fd)); err != nil {
			t.Fatal(err)
		}
		answers, want, _ := mixed(c, 20)
		for i, err := range answers {
			if RefusedWith(err) != want[i] {
				t.Errorf("operation %d: %v, want %v", i, err, want[i])
			}
		}
	}
}
