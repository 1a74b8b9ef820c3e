package ipvs

import (
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// capture is one line of testdata/captured.txt.
type capture struct {
	program, kind, command string
	body                   []byte // the payload without the generic-netlink header
}

func captures(t testing.TB, kind string) []capture {
	t.Helper()
	text, err := os.ReadFile("testdata/captured.txt")
	if err != nil {
		t.Fatal(err)
	}
	var found []capture
	for line := range strings.Lines(string(text)) {
		part := strings.Split(strings.TrimSpace(line), " | ")
		if len(part) != 4 || !strings.HasPrefix(part[1], kind) {
			continue
		}
		payload, err := hex.DecodeString(part[3])
		if err != nil {
			t.Fatalf("%s: %v", part[2], err)
		}
		body, err := genericBody(payload)
		if err != nil {
			t.Fatalf("%s: %v", part[2], err)
		}
		found = append(found, capture{part[0], part[1], part[2], body})
	}
	if len(found) == 0 {
		t.Fatalf("nothing captured of kind %q", kind)
	}
	return found
}

func vs(key dataplane.VirtualServerKey) dataplane.VirtualServer {
	return dataplane.VirtualServer{Key: key, Scheduler: "rr", MaskBits: uint8(key.Family.Bits())}
}

func tcp(addrPort string) dataplane.VirtualServerKey {
	ap := netip.MustParseAddrPort(addrPort)
	return dataplane.KeyOf(dataplane.TCP, ap.Addr(), ap.Port())
}

func rs(key dataplane.VirtualServerKey, addrPort string, weight uint32) dataplane.Member {
	return dataplane.Member{VirtualServer: key, RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort(addrPort), Weight: weight}}
}

// keys are one of each kind of virtual server.
func keys() []dataplane.VirtualServerKey {
	var all []dataplane.VirtualServerKey
	for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP, dataplane.SCTP} {
		for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
			all = append(all, dataplane.KeyOf(protocol, netip.MustParseAddr(addr), 8443))
		}
	}
	return append(all, dataplane.MarkKeyOf(dataplane.IPv4, 17), dataplane.MarkKeyOf(dataplane.IPv6, 17))
}

// server returns a real server's address of a family.
func server(family dataplane.Family) netip.AddrPort {
	if family == dataplane.IPv6 {
		return netip.MustParseAddrPort("[2001:db8:1::5]:80")
	}
	return netip.MustParseAddrPort("198.51.100.5:80")
}
