package ipvs

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// filled returns a fake with one virtual server of each kind, a real server and a draining one behind each.
func filled(t *testing.T) (*fakeKernel, *conn) {
	k := newFake(t)
	c := k.connect()
	for _, key := range keys() {
		addr := server(key.Family)
		drained := dataplane.Member{VirtualServer: key, RealServer: dataplane.RealServer{Addr: netip.AddrPortFrom(addr.Addr(), 81)}}
		mustApply(t, c, op(dataplane.Add, vs(key)), op(dataplane.Add, rs(key, addr.String(), 1)), op(dataplane.Add, drained))
	}
	return k, c
}

func TestPoolsReadsEverything(t *testing.T) {
	k, c := filled(t)
	pools, draining, err := c.pools(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(k.dump(), dataplane.Objects{Pools: pools}.Dump()); diff != "" {
		t.Errorf("(-wanted +got)\n%s", diff)
	}
	if len(draining) != len(keys()) {
		t.Errorf("%d virtual servers with draining real servers", len(draining))
	}
	for key, servers := range draining {
		if want := netip.AddrPortFrom(server(key.Family).Addr(), 81); len(servers) != 1 || servers[want] != 3 {
			t.Errorf("%s: draining %v", key, servers)
		}
	}
}

func TestVirtualServerThatVanishesIsLeftOut(t *testing.T) {
	k, c := filled(t)
	gone, empty := keys()[0], keys()[1]
	k.services[empty].dests = nil
	k.afterMsg = func(uint8) { delete(k.services, gone) } // after the first dump
	pools, draining, err := c.pools(context.Background())
	if err != nil || len(pools) != len(keys())-1 {
		t.Fatalf("%d virtual servers, %v", len(pools), err)
	}
	if diff := cmp.Diff(k.dump(), dataplane.Objects{Pools: pools}.Dump()); diff != "" {
		t.Errorf("(-wanted +got)\n%s", diff)
	}
	if draining[gone] != nil {
		t.Errorf("draining %v", draining[gone])
	}
}

func TestConnections(t *testing.T) {
	_, c := filled(t)
	key := keys()[0]
	got, err := c.connections(context.Background(), []dataplane.VirtualServerKey{key, tcp("203.0.113.1:1")})
	addr := server(key.Family)
	want := counts{key: {addr: 3, netip.AddrPortFrom(addr.Addr(), 81): 3}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("%v (-wanted +got)\n%s", err, diff)
	}
	if _, err := c.connections(context.Background(), []dataplane.VirtualServerKey{{}}); !errors.Is(err, dataplane.ErrInvalid) {
		t.Errorf("of no virtual server: %v", err)
	}
}

// damaged returns a copy of a datagram with other flags, or with the errno of a DONE message replaced.
func damaged(b []byte, flags uint16, errno int32) []byte {
	b = append([]byte(nil), b...)
	binary.NativeEndian.PutUint16(b[6:], binary.NativeEndian.Uint16(b[6:])|flags)
	if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_DONE {
		binary.NativeEndian.PutUint32(b[unix.NLMSG_HDRLEN:], uint32(-errno))
	}
	return b
}

func TestReadsAreTriedAgain(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"interrupted": func(b []byte) []byte { return damaged(b, unix.NLM_F_DUMP_INTR, 0) },
		"EINTR":       func(b []byte) []byte { return damaged(b, 0, int32(unix.EINTR)) },
		"lost":        nil,
	} {
		k, c := filled(t)
		left := 3
		k.mangle = func(b []byte) []byte {
			if spoil == nil || left == 0 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_DONE {
				return b
			}
			left--
			return spoil(b)
		}
		k.beforeSend = func() (error, bool) {
			if spoil == nil && left > 0 {
				left--
				k.overrun = true
			}
			return nil, true
		}
		pools, _, err := c.pools(context.Background())
		if err != nil || left != 0 {
			t.Errorf("%s: %d left, %v", name, left, err)
		}
		if diff := cmp.Diff(k.dump(), dataplane.Objects{Pools: pools}.Dump()); diff != "" {
			t.Errorf("%s: (-wanted +got)\n%s", name, diff)
		}
	}
}

func TestReadsNeverReturnAPart(t *testing.T) {
	for name, test := range map[string]struct {
		mangle func([]byte) []byte
		want   error
	}{
		"interrupted for ever": {func(b []byte) []byte { return damaged(b, unix.NLM_F_DUMP_INTR, 0) }, nlbatch.ErrInterrupted},
		"refused at the end":   {func(b []byte) []byte { return damaged(b, 0, int32(unix.EPERM)) }, dataplane.ErrPermission},
		"out of memory":        {func(b []byte) []byte { return damaged(b, 0, int32(unix.ENOMEM)) }, unix.ENOMEM},
		"cut off":              {func(b []byte) []byte { return b[:len(b)-2] }, nlbatch.ErrMalformed},
	} {
		k, c := filled(t)
		k.mangle = test.mangle
		pools, draining, err := c.pools(context.Background())
		if !errors.Is(err, test.want) || pools != nil || draining != nil {
			t.Errorf("%s: %d virtual servers, %v", name, len(pools), err)
		}
		k.mangle = nil
		if pools, _, err := c.pools(context.Background()); err != nil || len(pools) != len(keys()) {
			t.Errorf("%s: afterwards %d virtual servers, %v", name, len(pools), err)
		}
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	_, c := filled(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := c.pools(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestTimeouts(t *testing.T) {
	k := newFake(t)
	c := k.connect()
	k.timeouts = [3]uint32{900, 120, 300}
	ctx := context.Background()
	if err := c.setTimeouts(ctx, Timeouts{TCP: 1500 * time.Millisecond, UDP: time.Minute}); err != nil {
		t.Fatal(err)
	}
	got, err := c.timeouts(ctx)
	if want := (Timeouts{TCP: 2 * time.Second, TCPFin: 2 * time.Minute, UDP: time.Minute}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if err := c.setTimeouts(ctx, Timeouts{UDP: -1}); !errors.Is(err, dataplane.ErrInvalid) {
		t.Errorf("negative: %v", err)
	}
}

func TestCheckScheduler(t *testing.T) {
	k := newFake(t)
	c := k.connect()
	ctx := context.Background()
	if err := c.checkScheduler(ctx, "rr"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "wrong", "longer-than-fifteen"} {
		if err := c.checkScheduler(ctx, name); !errors.Is(err, dataplane.ErrNoScheduler) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if len(k.services) != 0 {
		t.Errorf("left behind\n%s", k.dump())
	}
	k.family = 0
	if err := c.checkScheduler(ctx, "rr"); !errors.Is(err, dataplane.ErrUnavailable) {
		t.Errorf("without the module: %v", err)
	}
}
