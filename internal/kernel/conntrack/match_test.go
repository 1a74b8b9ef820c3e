package conntrack

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

func flowsOf(protocol dataplane.Protocol, virtual, real string) dataplane.Flows {
	at := netip.MustParseAddrPort(virtual)
	return dataplane.Flows{
		VirtualServer: dataplane.KeyOf(protocol, at.Addr(), at.Port()),
		RealServer:    netip.MustParseAddrPort(real),
	}
}

func entryOf(protocol dataplane.Protocol, client, virtual, real string) entry {
	c, v, r := netip.MustParseAddrPort(client), netip.MustParseAddrPort(virtual), netip.MustParseAddrPort(real)
	return entry{original: tuple{protocol, c, v}, reply: tuple{protocol, r, c}}
}

// P09: an entry is stale exactly when protocol, virtual address and port, and real server and port are those of the flows.
func TestMatch(t *testing.T) {
	flows := []dataplane.Flows{
		flowsOf(dataplane.UDP, "10.96.0.10:53", "10.1.0.1:5353"),
		flowsOf(dataplane.SCTP, "10.96.0.10:53", "10.1.0.1:5353"),
		flowsOf(dataplane.UDP, "[fd00::10]:53", "[fd00:1::1]:5353"),
		flowsOf(dataplane.UDP, "10.96.0.10:53", "10.1.0.1:5353"), // named twice
		flowsOf(dataplane.UDP, "10.96.0.12:53", "10.1.0.9:5353"), // not among those looked for
	}
	m := newMatcher(flows, []int{0, 1, 2, 3})
	tests := []struct {
		entry entry
		want  []int
	}{
		{entryOf(dataplane.UDP, "10.2.0.1:4000", "10.96.0.10:53", "10.1.0.1:5353"), []int{0, 3}},
		{entryOf(dataplane.SCTP, "10.2.0.1:4000", "10.96.0.10:53", "10.1.0.1:5353"), []int{1}},
		{entryOf(dataplane.UDP, "[fd00:2::1]:4000", "[fd00::10]:53", "[fd00:1::1]:5353"), []int{2}},
		{entryOf(dataplane.TCP, "10.2.0.1:4000", "10.96.0.10:53", "10.1.0.1:5353"), nil},
		{entryOf(dataplane.UDP, "10.2.0.1:4000", "10.96.0.11:53", "10.1.0.1:5353"), nil},
		{entryOf(dataplane.UDP, "10.2.0.1:4000", "10.96.0.10:54", "10.1.0.1:5353"), nil},
		{entryOf(dataplane.UDP, "10.2.0.1:4000", "10.96.0.10:53", "10.1.0.2:5353"), nil},
		{entryOf(dataplane.UDP, "10.2.0.1:4000", "10.96.0.10:53", "10.1.0.1:5354"), nil},
		{entryOf(dataplane.UDP, "10.2.0.1:4000", "10.1.0.1:5353", "10.1.0.1:5353"), nil}, // straight to the real server
		{entryOf(dataplane.UDP, "10.2.0.1:4000", "10.96.0.12:53", "10.1.0.9:5353"), nil},
	}
	for _, test := range tests {
		if got := m.match(test.entry); !slices.Equal(got, test.want) {
			t.Errorf("%+v belongs to flows %v, want %v", test.entry, got, test.want)
		}
	}
	if got := m.protocol(); got != 0 {
		t.Errorf("UDP and SCTP have the one protocol %s", got)
	}
	if got := newMatcher(flows, []int{0, 2}).protocol(); got != dataplane.UDP {
		t.Errorf("the one protocol of UDP flows is %s", got)
	}
}

func TestValidate(t *testing.T) {
	bad := []dataplane.Flows{
		flowsOf(dataplane.TCP, "10.96.0.10:53", "10.1.0.1:5353"),
		flowsOf(dataplane.UDP, "10.96.0.10:53", "[fd00:1::1]:5353"),
		{VirtualServer: dataplane.MarkKeyOf(dataplane.IPv4, 1), RealServer: netip.MustParseAddrPort("10.1.0.1:53")},
		{VirtualServer: flowsOf(dataplane.UDP, "10.96.0.10:53", "10.1.0.1:53").VirtualServer},
	}
	for _, f := range bad {
		if err := validate(f); !errors.Is(err, dataplane.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", f, err)
		}
	}
}

// tupleAttribute encodes one direction as the kernel does.
func tupleAttribute(kind uint16, t tuple) []byte {
	source, destination := uint16(nl.CTA_IP_V4_SRC), uint16(nl.CTA_IP_V4_DST)
	if t.from.Addr().Is6() {
		source, destination = nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	ip := nlbatch.Bytes(nil, source, t.from.Addr().AsSlice())
	ip = nlbatch.Bytes(ip, destination, t.to.Addr().AsSlice())
	proto := nlbatch.Bytes(nil, nl.CTA_PROTO_NUM, []byte{byte(t.protocol)})
	proto = nlbatch.Bytes(proto, nl.CTA_PROTO_SRC_PORT, binary.BigEndian.AppendUint16(nil, t.from.Port()))
	proto = nlbatch.Bytes(proto, nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, t.to.Port()))
	both := nlbatch.Bytes(nil, nl.CTA_TUPLE_IP|nl.NLA_F_NESTED, ip)
	both = nlbatch.Bytes(both, nl.CTA_TUPLE_PROTO|nl.NLA_F_NESTED, proto)
	return nlbatch.Bytes(nil, kind|nl.NLA_F_NESTED, both)
}

func messageOf(e entry) []byte {
	b := []byte{2, 0, 0, 0}
	b = append(b, tupleAttribute(nl.CTA_TUPLE_ORIG, e.original)...)
	b = append(b, tupleAttribute(nl.CTA_TUPLE_REPLY, e.reply)...)
	b = nlbatch.Bytes(b, nl.CTA_MARK, []byte{0, 0, 0, 1})
	b = nlbatch.Bytes(b, nl.CTA_ID, []byte{1, 2, 3, 4})
	return nlbatch.Bytes(b, nl.CTA_ZONE, []byte{0, 9})
}

func TestParseEntry(t *testing.T) {
	for _, want := range []entry{
		entryOf(dataplane.UDP, "10.2.0.1:4000", "10.96.0.10:53", "10.1.0.1:5353"),
		entryOf(dataplane.SCTP, "[fd00:2::1]:4000", "[fd00::10]:53", "[fd00:1::1]:5353"),
	} {
		got, err := parseEntry(messageOf(want))
		if err != nil || got.original != want.original || got.reply != want.reply {
			t.Errorf("parsed %+v, %v; want %+v", got, err, want)
		}
		identity := tupleAttribute(nl.CTA_TUPLE_ORIG, want.original)
		identity = nlbatch.Bytes(identity, nl.CTA_ID, []byte{1, 2, 3, 4})
		identity = nlbatch.Bytes(identity, nl.CTA_ZONE, []byte{0, 9})
		if !slices.Equal(got.identity, identity) {
			t.Errorf("identity % x, want % x", got.identity, identity)
		}
	}
	whole := messageOf(entryOf(dataplane.UDP, "10.2.0.1:4000", "10.96.0.10:53", "10.1.0.1:5353"))
	if _, err := parseEntry(whole[:len(whole)-30]); !errors.Is(err, nlbatch.ErrMalformed) {
		t.Errorf("a cut-off message: %v", err)
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add(messageOf(entryOf(dataplane.UDP, "10.2.0.1:4000", "10.96.0.10:53", "10.1.0.1:5353")))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if got, err := parseEntry(payload); err == nil && len(got.identity) > len(payload) {
			t.Errorf("an identity of %d bytes in a message of %d", len(got.identity), len(payload))
		}
	})
}
