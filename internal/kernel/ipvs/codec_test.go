package ipvs

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

func TestDecodeCapturedServices(t *testing.T) {
	for _, c := range append(captures(t, "answer-service"), captures(t, "request-service")...) {
		v, err := decodeService(c.body)
		if err != nil {
			t.Errorf("%s %s: %v", c.program, c.command, err)
			continue
		}
		if v.String() != c.command {
			t.Errorf("%s %s: decoded as %s", c.program, c.command, v)
		}
		if v.Flags&flagHashed != 0 {
			t.Errorf("%s %s: the kernel's own flag is left in", c.program, c.command)
		}
	}
}

func TestDecodeCapturedDests(t *testing.T) {
	for _, c := range append(captures(t, "answer-dest"), captures(t, "request-dest")...) {
		family := dataplane.IPv4
		if strings.Contains(c.command, "[") {
			family = dataplane.IPv6
		}
		d, err := decodeDest(c.body, family)
		if err != nil {
			t.Errorf("%s %s: %v", c.program, c.command, err)
			continue
		}
		wanted := c.command[strings.Index(c.command, " -r "):]
		if got := (dataplane.Member{RealServer: d.RealServer}).String(); !strings.HasSuffix(got, wanted) {
			t.Errorf("%s %s: decoded as %s", c.program, c.command, got)
		}
	}
}

// What moby/ipvs sends for a service, and what ipvsadm sends apart from its NLA_F_NESTED bits, is what we send.
func TestEncodeServicesLikeOtherPrograms(t *testing.T) {
	for _, c := range captures(t, "request-service") {
		v, err := decodeService(c.body)
		if err != nil {
			t.Fatalf("%s: %v", c.command, err)
		}
		theirs := bytes.Clone(c.body)
		theirs[3] &^= 0x80
		if diff := cmp.Diff(theirs, appendBody(nil, v, true)); diff != "" {
			t.Errorf("%s %s: (-theirs +ours)\n%s", c.program, c.command, diff)
		}
	}
}

// moby/ipvs repeats the service's whole state in front of a destination and leaves out its family, so the attributes
// that both send are compared.
func TestEncodeDestsLikeOtherPrograms(t *testing.T) {
	for _, c := range captures(t, "request-dest") {
		fields, err := parseService(c.body)
		if err != nil {
			t.Fatalf("%s: %v", c.command, err)
		}
		key, err := fields.key()
		if err != nil {
			t.Fatalf("%s: %v", c.command, err)
		}
		d, err := decodeDest(c.body, key.Family)
		if err != nil {
			t.Fatalf("%s: %v", c.command, err)
		}
		ours := attributesOf(t, appendBody(nil, dataplane.Member{VirtualServer: key, RealServer: d.RealServer}, true), attrDest)
		for kind, theirs := range attributesOf(t, c.body, attrDest) {
			if kind > destFamily {
				continue // tunnels
			}
			if kind == destAddr {
				theirs = theirs[:key.Family.Bits()/8]
			}
			if !bytes.Equal(ours[kind], theirs) {
				t.Errorf("%s %s: attribute %d is %x, not %x", c.program, c.command, kind, ours[kind], theirs)
			}
		}
	}
}

func attributesOf(t *testing.T, body []byte, outer uint16) map[uint16][]byte {
	t.Helper()
	nested, found, err := nlbatch.FindAttribute(body, outer)
	if err != nil || !found {
		t.Fatalf("attribute %d: found %v, %v", outer, found, err)
	}
	all := make(map[uint16][]byte)
	if err := nlbatch.EachAttribute(nested, func(kind uint16, data []byte) error { all[kind] = data; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestServicesSurviveTheWayThereAndBack(t *testing.T) {
	for _, key := range keys() {
		for _, v := range []dataplane.VirtualServer{
			vs(key),
			{Key: key, Scheduler: "sh", Flags: dataplane.FlagFallback | dataplane.FlagHashPort, MaskBits: 8},
			{Key: key, Scheduler: "fifteen-letters", Flags: dataplane.FlagPersistent, Timeout: 10800, MaskBits: 1},
			{Key: key, Scheduler: "lc", Flags: dataplane.FlagOnePacket | dataplane.FlagSched3, MaskBits: 32},
		} {
			if err := validate(v); err != nil {
				t.Errorf("%s: %v", v, err)
			}
			got, err := decodeService(appendBody(nil, v, true))
			if err != nil || got != v {
				t.Errorf("%s: came back as %s, %v", v, got, err)
			}
		}
	}
}

func TestMembersSurviveTheWayThereAndBack(t *testing.T) {
	for _, key := range keys() {
		for _, r := range []dataplane.RealServer{
			{Addr: server(key.Family)},
			{Addr: server(dataplane.IPv6), Weight: 1, Forwarding: dataplane.Tunnel},
			{Addr: netip.MustParseAddrPort("[::ffff:192.0.2.9]:65535"), Weight: 65535, Forwarding: dataplane.DirectRoute},
		} {
			m := dataplane.Member{VirtualServer: key, RealServer: r}
			body := appendBody(nil, m, true)
			got, err := decodeDest(body, key.Family)
			if err != nil || got.RealServer != r || got.connections != 0 {
				t.Errorf("%s: came back as %v, %v", m, got, err)
			}
			fields, err := parseService(body)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := fields.key(); err != nil || back != key {
				t.Errorf("%s: its virtual server came back as %s, %v", m, back, err)
			}
		}
	}
}

func TestDecodeCountsConnections(t *testing.T) {
	m := rs(tcp("192.0.2.1:80"), "198.51.100.5:80", 0)
	body := nlbatch.Nested(nil, attrDest, func(b []byte) []byte {
		b = nlbatch.Bytes(b, destAddr, m.Addr.Addr().AsSlice())
		b = appendDestState(nlbatch.Uint16BE(b, destPort, m.Addr.Port()), m.RealServer)
		return nlbatch.Uint32(nlbatch.Uint32(b, destActive, 3), destInactive, 4)
	})
	d, err := decodeDest(body, dataplane.IPv4)
	if err != nil || d.connections != 7 || d.RealServer != m.RealServer {
		t.Errorf("decoded %+v, %v", d, err)
	}
}

func TestTimeoutsSurviveTheWayThereAndBack(t *testing.T) {
	got, err := decodeTimeouts(appendTimeouts(nil, 900, 120, 300))
	if err != nil || got != [3]uint32{900, 120, 300} {
		t.Errorf("came back as %v, %v", got, err)
	}
}

// An IPv4 mask with holes is somebody else's. It must not hide everybody's virtual servers.
func TestDecodeMaskWithHoles(t *testing.T) {
	if bits, err := maskBitsOf(dataplane.IPv4, []byte{255, 255, 0, 255}); err != nil || bits != 16 {
		t.Errorf("read as %d, %v", bits, err)
	}
}

func TestDecodeRefusesMalformed(t *testing.T) {
	good := appendBody(nil, vs(tcp("192.0.2.1:80")), true)
	service := func(b []byte) error { _, err := decodeService(b); return err }
	dest := func(b []byte) error { _, err := decodeDest(b, dataplane.IPv4); return err }
	without := func(left uint16) []byte {
		return nlbatch.Nested(nil, attrService, func(b []byte) []byte {
			for kind, data := range attributesOf(t, good, attrService) {
				if kind != left {
					b = nlbatch.Bytes(b, kind, data)
				}
			}
			return b
		})
	}
	with := func(outer uint16, add func([]byte) []byte) []byte {
		inner := attributesOf(t, appendBody(nil, rs(tcp("192.0.2.1:80"), "198.51.100.5:80", 1), true), attrDest)
		if outer == attrService {
			inner = attributesOf(t, good, attrService)
		}
		return nlbatch.Nested(nil, outer, func(b []byte) []byte {
			for kind, data := range inner {
				b = nlbatch.Bytes(b, kind, data)
			}
			return add(b)
		})
	}
	cases := map[string]error{
		"nothing":         service(nil),
		"cut short":       service(good[:len(good)-3]),
		"no family":       service(without(svcFamily)),
		"no address":      service(without(svcAddr)),
		"no scheduler":    service(without(svcScheduler)),
		"no netmask":      service(without(svcNetmask)),
		"short address":   service(with(attrService, func(b []byte) []byte { return nlbatch.Bytes(b, svcAddr, []byte{1, 2}) })),
		"strange family":  service(with(attrService, func(b []byte) []byte { return nlbatch.Uint16(b, svcFamily, 1) })),
		"wide protocol":   service(with(attrService, func(b []byte) []byte { return nlbatch.Uint16(b, svcProtocol, 300) })),
		"endless name":    service(with(attrService, func(b []byte) []byte { return nlbatch.Bytes(b, svcScheduler, []byte("rr")) })),
		"short flags":     service(with(attrService, func(b []byte) []byte { return nlbatch.Uint32(b, svcFlags, 0) })),
		"short netmask":   service(with(attrService, func(b []byte) []byte { return nlbatch.Bytes(b, svcNetmask, []byte{0, 0}) })),
		"no destination":  dest(good),
		"empty":           dest(nlbatch.Nested(nil, attrDest, func(b []byte) []byte { return b })),
		"dest family":     dest(with(attrDest, func(b []byte) []byte { return nlbatch.Uint16(b, destFamily, 99) })),
		"dest address":    dest(with(attrDest, func(b []byte) []byte { return nlbatch.Bytes(b, destAddr, nil) })),
		"dest weight":     dest(with(attrDest, func(b []byte) []byte { return nlbatch.Uint16(b, destWeight, 1) })),
		"attribute size":  nlbatch.EachAttribute([]byte{3, 0, 1, 0}, func(uint16, []byte) error { return nil }),
		"attribute bytes": nlbatch.EachAttribute([]byte{4, 0, 1}, func(uint16, []byte) error { return nil }),
	}
	for name, err := range cases {
		if !errors.Is(err, nlbatch.ErrMalformed) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	if _, err := maskBitsOf(dataplane.IPv6, []byte{129, 0, 0, 0}); !errors.Is(err, nlbatch.ErrMalformed) {
		t.Errorf("IPv6 prefix length 129: error is %v", err)
	}
}
