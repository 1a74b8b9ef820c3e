package link

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

func TestAddressCodec(t *testing.T) {
	for _, text := range []string{"10.96.0.10", "fd00::10"} {
		addr := netip.MustParseAddr(text)
		for verb, kind := range map[dataplane.Verb]uint16{dataplane.Add: unix.RTM_NEWADDR, dataplane.Delete: unix.RTM_DELADDR} {
			b := appendAddressRequest([]byte("before"), verb, 5, addr)[len("before"):]
			if len(b)%4 != 0 {
				t.Errorf("%s: %d bytes", text, len(b))
			}
			if got := binary.NativeEndian.Uint16(b[4:]); got != kind {
				t.Errorf("%s: type %d, want %d", text, got, kind)
			}
			got, err := parseAddress(b[unix.SizeofNlMsghdr:])
			want := binding{index: 5, prefix: netip.PrefixFrom(addr, addr.BitLen())}
			if err != nil || got != want || !got.ours() {
				t.Errorf("%s: parsed %+v, %v; want %+v", text, got, err, want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(appendAddressRequest(nil, dataplane.Add, 2, netip.MustParseAddr("10.0.0.1"))[unix.SizeofNlMsghdr:])
	f.Add([]byte{2, 32, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		if got, err := parseAddress(payload); err == nil && !got.prefix.IsValid() {
			t.Errorf("parsed %+v", got)
		}
		if _, name, ok := parseLink(payload); ok && name == "" {
			t.Error("a link without a name")
		}
	})
}

// P25: what is not the proxy's is not touched.
func TestWhatIsOurs(t *testing.T) {
	tests := map[string]struct{ ours, ofNode bool }{
		"10.96.0.10/32":   {true, true},
		"10.96.0.10/24":   {false, true},
		"fd00::10/128":    {true, true},
		"fd00::10/64":     {false, true},
		"fe80::1/128":     {false, false},
		"fe80::1/64":      {false, false},
		"169.254.20.1/32": {true, true},
		"127.0.0.1/8":     {false, false},
		"::1/128":         {true, false},
		"ff02::1/128":     {true, false},
	}
	for prefix, want := range tests {
		got := binding{prefix: netip.MustParsePrefix(prefix)}
		if got.ours() != want.ours || got.ofNode() != want.ofNode {
			t.Errorf("%s: ours %t, of the node %t; want %+v", prefix, got.ours(), got.ofNode(), want)
		}
	}
	if (binding{prefix: netip.MustParsePrefix("10.0.0.1/32"), peer: true}).ours() {
		t.Error("a point-to-point address counts as ours")
	}
}

func TestAnswers(t *testing.T) {
	tests := []struct {
		verb  dataplane.Verb
		errno unix.Errno
		want  error
	}{
		{dataplane.Add, 0, nil},
		{dataplane.Add, unix.EEXIST, nil},
		{dataplane.Delete, unix.EADDRNOTAVAIL, nil},
		{dataplane.Delete, unix.ENODEV, nil},
		{dataplane.Add, unix.ENODEV, dataplane.ErrNotExist},
		{dataplane.Add, unix.EPERM, dataplane.ErrPermission},
		{dataplane.Delete, unix.EPERM, dataplane.ErrPermission},
		{dataplane.Add, unix.EACCES, dataplane.ErrUnavailable},
		{dataplane.Add, unix.EOPNOTSUPP, dataplane.ErrUnavailable},
		{dataplane.Add, unix.EADDRNOTAVAIL, dataplane.ErrInvalid},
		{dataplane.Add, unix.ENOMEM, unix.ENOMEM},
	}
	for _, test := range tests {
		var refused error
		if test.errno != 0 {
			refused = &nlbatch.Refusal{Errno: test.errno}
		}
		if got := answer(test.verb, refused); !errors.Is(got, test.want) {
			t.Errorf("%s answered %v: %v, want %v", test.verb, test.errno, got, test.want)
		}
	}
}

func collect(t *testing.T, m *merger) []dataplane.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan dataplane.Event)
	m.mu.Lock()
	want := len(m.pending)
	m.mu.Unlock()
	go m.deliver(ctx, out)
	var got []dataplane.Event
	for range want {
		got = append(got, <-out)
	}
	cancel()
	for range out { // closed once the context ended
	}
	return got
}

func TestMerger(t *testing.T) {
	added := dataplane.Event{Kind: dataplane.BoundAddressAdded, Addr: netip.MustParseAddr("10.0.0.1")}
	node, overrun := dataplane.Event{Kind: dataplane.NodeAddressesChanged}, dataplane.Event{Kind: dataplane.Overrun}
	m := newMerger()
	for _, event := range []dataplane.Event{node, node, added, node, added} {
		m.put(event)
	}
	if got, want := collect(t, m), []dataplane.Event{node, added, node, added}; !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
	for _, event := range []dataplane.Event{node, added, overrun, added, overrun} {
		m.put(event)
	}
	if got, want := collect(t, m), []dataplane.Event{overrun}; !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
	for i := range pendingLimit + 10 {
		m.put([]dataplane.Event{added, node}[i%2])
	}
	if got, want := collect(t, m), []dataplane.Event{overrun}; !slices.Equal(got, want) {
		t.Errorf("a full buffer delivered %d events, want one overrun", len(got))
	}
}
