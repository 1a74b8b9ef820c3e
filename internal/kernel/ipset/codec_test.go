package ipset

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

type codecCase struct {
	name  string
	kind  dataplane.SetType
	entry dataplane.Entry
}

func codecCases() []codecCase {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	single4, single6 := netip.MustParsePrefix("10.1.2.3/32"), netip.MustParsePrefix("fd00::2/128")
	net4, net6 := netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/33")
	return []codecCase{
		{"hash:ip v4", dataplane.HashIP, dataplane.Entry{Set: "S", Addr: v4}},
		{"hash:ip v6", dataplane.HashIP, dataplane.Entry{Set: "S", Addr: v6}},
		{"mapped v4", dataplane.HashIP, dataplane.Entry{Set: "S", Addr: netip.MustParseAddr("::ffff:10.0.0.1")}},
		{"hash:ip,port", dataplane.HashIPPort, dataplane.Entry{Set: "S", Addr: v4, Protocol: dataplane.TCP, Port: 80}},
		{"port 0", dataplane.HashIPPort, dataplane.Entry{Set: "S", Addr: v4, Protocol: dataplane.UDP}},
		{"mark", dataplane.HashIPPort, dataplane.Entry{Set: "S", Addr: v6, Protocol: dataplane.SCTP, Port: 65535, Mark: 0x3fff}},
		{"hash:ip,port,ip v4", dataplane.HashIPPortIP, dataplane.Entry{Set: "S", Addr: v4, Protocol: dataplane.TCP, Port: 80, Peer: single4}},
		{"hash:ip,port,ip v6", dataplane.HashIPPortIP, dataplane.Entry{Set: "S", Addr: v6, Protocol: dataplane.UDP, Port: 53, Peer: single6}},
		{"net single", dataplane.HashIPPortNet, dataplane.Entry{Set: "S", Addr: v4, Protocol: dataplane.TCP, Port: 80, Peer: single4}},
		{"net v4", dataplane.HashIPPortNet, dataplane.Entry{Set: "S", Addr: v4, Protocol: dataplane.TCP, Port: 80, Peer: net4, Mark: 7}},
		{"net v6", dataplane.HashIPPortNet, dataplane.Entry{Set: "S", Addr: v6, Protocol: dataplane.TCP, Port: 80, Peer: net6}},
		{"half of all", dataplane.HashIPPortNet, dataplane.Entry{Set: "S", Addr: v4, Protocol: dataplane.TCP, Port: 80, Peer: netip.MustParsePrefix("128.0.0.0/1")}},
		{"bitmap:port", dataplane.BitmapPort, dataplane.Entry{Set: "S", Port: 30080}},
		{"bitmap:port 0", dataplane.BitmapPort, dataplane.Entry{Set: "S"}},
	}
}

// inner returns the value of one attribute.
func inner(t testing.TB, b []byte, wanted uint16) []byte {
	t.Helper()
	var found []byte
	if err := nlbatch.EachAttribute(b, func(kind uint16, value []byte) error {
		if kind == wanted {
			found = value
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEntriesSurviveTheCodec(t *testing.T) {
	for _, c := range codecCases() {
		t.Run(c.name, func(t *testing.T) {
			if err := checkEntry(c.entry, c.kind); err != nil {
				t.Fatalf("checkEntry: %v", err)
			}
			var e encoder
			encodeEntry(&e, c.entry)
			got, err := decodeEntry(inner(t, e.b, attrData))
			got.Set = text(inner(t, e.b, attrSetName))
			if err != nil || got != c.entry {
				t.Errorf("decoded %+v, %v; encoded %+v", got, err, c.entry)
			}
		})
	}
}

func TestSetsSurviveTheCodec(t *testing.T) {
	for _, facts := range knownTypes() {
		for _, family := range dataplane.Families() {
			for _, marks := range []bool{false, true} {
				set := dataplane.Set{Name: "S", Type: facts.setType, Family: family, HashSize: 1024, MaxElem: 65536, Marks: marks}
				if set.Type == dataplane.BitmapPort {
					set.Family, set.HashSize, set.MaxElem = dataplane.IPv4, 0, 0
				}
				var e encoder
				encodeSet(&e, set, facts.revision)
				got, err := decodeListed(e.b)
				if err != nil || got.header.set != set || got.header.extras != nil {
					t.Errorf("decoded %+v, %v; encoded %+v", got.header, err, set)
				}
			}
		}
	}
}

// The bytes are what the ipset tool (7.17) sends for the same commands, as strace shows them, but for the version of the
// protocol, the revision, and a line number after an entry.
func TestTheWireIsTheToolsWire(t *testing.T) {
	set := dataplane.Set{Name: "A6", Type: dataplane.HashIPPort, Family: dataplane.IPv6, HashSize: 1024, MaxElem: 65536}
	entry := dataplane.Entry{Set: "S", Addr: netip.MustParseAddr("10.0.0.1"), Protocol: dataplane.TCP, Port: 80,
		Peer: netip.MustParsePrefix("10.1.0.0/16"), Mark: 0x12}
	bitmap := dataplane.Set{Name: "B", Type: dataplane.BitmapPort, Family: dataplane.IPv4}
	marked := dataplane.Set{Name: "S", Type: dataplane.HashIPPortNet, Family: dataplane.IPv4, HashSize: 1024, MaxElem: 65536, Marks: true}
	for _, c := range []struct {
		name   string
		encode func(*encoder)
		want   string
	}{
		{"create", func(e *encoder) { encodeSet(e, set, 7) }, "\x07\x00\x02\x00A6\x00\x00\x11\x00\x03\x00hash:ip,port\x00\x00\x00\x00" +
			"\x05\x00\x04\x00\x07\x00\x00\x00\x05\x00\x05\x00\x0a\x00\x00\x00\x14\x00\x07\x80" +
			"\x08\x00\x12\x40\x00\x00\x04\x00\x08\x00\x13\x40\x00\x01\x00\x00"},
		{"create bitmap", func(e *encoder) { encodeSet(e, bitmap, 3) }, "\x06\x00\x02\x00B\x00\x00\x00\x10\x00\x03\x00bitmap:port\x00" +
			"\x05\x00\x04\x00\x03\x00\x00\x00\x05\x00\x05\x00\x00\x00\x00\x00\x14\x00\x07\x80" +
			"\x06\x00\x04\x40\x00\x00\x00\x00\x06\x00\x05\x40\xff\xff\x00\x00"},
		{"create skbinfo", func(e *encoder) { encodeSet(e, marked, 8) }, "\x06\x00\x02\x00S\x00\x00\x00\x15\x00\x03\x00hash:ip,port,net\x00\x00\x00\x00" +
			"\x05\x00\x04\x00\x08\x00\x00\x00\x05\x00\x05\x00\x02\x00\x00\x00\x1c\x00\x07\x80" +
			"\x08\x00\x12\x40\x00\x00\x04\x00\x08\x00\x13\x40\x00\x01\x00\x00\x08\x00\x08\x40\x00\x00\x00\x40"},
		{"add", func(e *encoder) { encodeEntry(e, entry) }, "\x06\x00\x02\x00S\x00\x00\x00\x40\x00\x07\x80" +
			"\x0c\x00\x01\x80\x08\x00\x01\x40\x0a\x00\x00\x01\x06\x00\x04\x40\x00\x50\x00\x00\x05\x00\x07\x00\x06\x00\x00\x00" +
			"\x0c\x00\x14\x80\x08\x00\x01\x40\x0a\x01\x00\x00\x05\x00\x15\x00\x10\x00\x00\x00\x0c\x00\x1b\x40\x00\x00\x00\x12\xff\xff\xff\xff"},
	} {
		var e encoder
		c.encode(&e)
		if string(e.b) != c.want {
			t.Errorf("%s:\n got %x\nwant %x", c.name, e.b, c.want)
		}
	}
}

func TestEntriesThatDoNotFitAreRefused(t *testing.T) {
	addr, single := netip.MustParseAddr("10.0.0.1"), netip.MustParsePrefix("10.0.0.2/32")
	for _, c := range []codecCase{
		{"no address", dataplane.HashIP, dataplane.Entry{Set: "S"}},
		{"port in hash:ip", dataplane.HashIP, dataplane.Entry{Set: "S", Addr: addr, Port: 80}},
		{"protocol in hash:ip", dataplane.HashIP, dataplane.Entry{Set: "S", Addr: addr, Protocol: dataplane.TCP}},
		{"zone", dataplane.HashIP, dataplane.Entry{Set: "S", Addr: netip.MustParseAddr("fe80::1%eth0")}},
		{"no protocol", dataplane.HashIPPort, dataplane.Entry{Set: "S", Addr: addr, Port: 80}},
		{"protocol without ports", dataplane.HashIPPort, dataplane.Entry{Set: "S", Addr: addr, Port: 80, Protocol: 47}},
		{"peer in hash:ip,port", dataplane.HashIPPort, dataplane.Entry{Set: "S", Addr: addr, Port: 80, Protocol: dataplane.TCP, Peer: single}},
		{"no peer", dataplane.HashIPPortIP, dataplane.Entry{Set: "S", Addr: addr, Port: 80, Protocol: dataplane.TCP}},
		{"net as peer address", dataplane.HashIPPortIP, dataplane.Entry{Set: "S", Addr: addr, Port: 80, Protocol: dataplane.TCP, Peer: netip.MustParsePrefix("10.0.0.0/8")}},
		{"peer of all", dataplane.HashIPPortNet, dataplane.Entry{Set: "S", Addr: addr, Port: 80, Protocol: dataplane.TCP, Peer: netip.MustParsePrefix("0.0.0.0/0")}},
		{"host bits", dataplane.HashIPPortNet, dataplane.Entry{Set: "S", Addr: addr, Port: 80, Protocol: dataplane.TCP, Peer: netip.MustParsePrefix("10.0.0.1/8")}},
		{"families mixed", dataplane.HashIPPortNet, dataplane.Entry{Set: "S", Addr: addr, Port: 80, Protocol: dataplane.TCP, Peer: netip.MustParsePrefix("fd00::/8")}},
		{"prefix too long", dataplane.HashIPPortNet, dataplane.Entry{Set: "S", Addr: addr, Port: 80, Protocol: dataplane.TCP, Peer: netip.PrefixFrom(addr, 33)}},
		{"address in bitmap", dataplane.BitmapPort, dataplane.Entry{Set: "S", Addr: addr, Port: 80}},
		{"protocol in bitmap", dataplane.BitmapPort, dataplane.Entry{Set: "S", Port: 80, Protocol: dataplane.TCP}},
	} {
		if err := checkEntry(c.entry, c.kind); !errors.Is(err, dataplane.ErrInvalid) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestSetsThatCannotBeAreRefused(t *testing.T) {
	for _, set := range []dataplane.Set{
		{Name: "", Type: dataplane.BitmapPort},
		{Name: "a\x00b", Type: dataplane.BitmapPort},
		{Name: "KUBE-0123456789-0123456789-01234", Type: dataplane.BitmapPort},
		{Name: "S", Type: 99},
		{Name: "S", Type: dataplane.HashIP, HashSize: 1, MaxElem: 1},
		{Name: "S", Type: dataplane.HashIP, Family: dataplane.IPv4, HashSize: 1},
		{Name: "S", Type: dataplane.HashIP, Family: dataplane.IPv4, MaxElem: 1},
	} {
		if err := checkSet(set); !errors.Is(err, dataplane.ErrInvalid) {
			t.Errorf("%+v: %v", set, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range codecCases() {
		var e encoder
		entries := e.nested(attrEntries)
		encodeEntry(&e, c.entry)
		e.end(entries)
		f.Add(e.b)
	}
	var e encoder
	encodeSet(&e, dataplane.Set{Name: "S", Type: dataplane.HashIP, Family: dataplane.IPv6, HashSize: 1, MaxElem: 1}, 4)
	f.Add(e.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = attributesOf(nlbatch.Message{Type: unix.NFNL_SUBSYS_IPSET << 8, Payload: b})
		if part, err := decodeListed(b); err == nil {
			_, _ = decodeEntries(part.entries, "S", nil)
		}
		_, _, _ = decodeRange(b, attrRevision, attrRevisionMin)
		entry, err := decodeEntry(b)
		if err != nil || entry.Mark == ForeignMark {
			return
		}
		var again encoder // what was understood is written so that it is understood alike
		encodeEntry(&again, entry)
		back, err := decodeEntry(inner(t, again.b, attrData))
		for _, kind := range []dataplane.SetType{dataplane.HashIP, dataplane.HashIPPort, dataplane.HashIPPortIP, dataplane.HashIPPortNet, dataplane.BitmapPort} {
			entry.Set, back.Set = "S", "S"
			if checkEntry(entry, kind) == nil && (err != nil || back != entry) {
				t.Errorf("%+v came back as %+v, %v", entry, back, err)
			}
		}
	})
}
