package service

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

func addrList(list string) []netip.Addr {
	var out []netip.Addr
	for _, s := range strings.Fields(list) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestB44NodePortAddresses(t *testing.T) {
	local := addrList("192.0.2.7 127.0.0.1 10.0.0.7 169.254.20.10 2001:db8::7 fd00::7 fe80::1 ::1 192.0.2.7 ::ffff:10.0.0.9 fe80::2%eth0")
	nodes := map[string]Node{
		"dual":    {Addresses: addrList("10.0.0.7 fd00::7 192.0.2.7 2001:db8::7")},
		"four":    {Addresses: addrList("10.0.0.7")},
		"unknown": {},
		"absent":  {Addresses: addrList("203.0.113.5 2001:db8:5::5")}, // behind a translator: on no interface
	}
	const all4, all6 = "10.0.0.7 192.0.2.7", "2001:db8::7 fd00::7"
	for _, c := range []struct{ setting, node, bind, want string }{
		{"", "dual", "", all4 + " " + all6},
		{"all", "dual", "", all4 + " " + all6},
		{"localhost", "dual", "", ""},
		{"localhost all", "dual", "", all4 + " " + all6},
		{"primary", "dual", "", "10.0.0.7 fd00::7"},
		{"primary", "four", "", "10.0.0.7 " + all6}, // the other family is not limited, as in kube-proxy
		{"primary", "unknown", "", ""},
		{"primary", "absent", "", ""},
		{"primary", "dual", "192.0.2.7", "192.0.2.7 fd00::7"},
		{"primary", "dual", "0.0.0.0", "10.0.0.7 fd00::7"},
		{"primary", "unknown", "192.0.2.7", "192.0.2.7"},
		{"primary localhost", "four", "", "10.0.0.7"},
		{"10.0.0.0/8", "dual", "", "10.0.0.7 " + all6},
		{"10.0.0.7/8 fd00::/8", "dual", "", "10.0.0.7 fd00::7"},
		{"10.0.0.0/8 10.0.0.0/24 primary", "dual", "", "10.0.0.7 fd00::7"},
		{"172.16.0.0/12 2001:db8:9::/48", "dual", "", ""},
		{"169.254.0.0/16 fe80::/10", "dual", "", "169.254.20.10"},
		{"127.0.0.0/8 ::1/128", "dual", "", ""},
	} {
		t.Run(fmt.Sprint(c.setting, " ", c.node, " ", c.bind), func(t *testing.T) {
			setting, err := ParseNodePortAddresses(strings.Fields(c.setting))
			if err != nil {
				t.Fatal(err)
			}
			facts := Facts{Node: nodes[c.node], Local: local, Families: dataplane.Families()}
			if c.bind != "" {
				facts.Bind = netip.MustParseAddr(c.bind)
			}
			if got := strings.Trim(fmt.Sprint(setting.Select(facts)), "[]"); got != c.want {
				t.Errorf("selected %q, want %q", got, c.want)
			}
		})
	}
}

func TestB44NodePortAddressesOfOneFamily(t *testing.T) {
	facts := Facts{Local: addrList("10.0.0.7 fd00::7"), Families: []dataplane.Family{dataplane.IPv6}}
	if got := fmt.Sprint(NodePortAddresses{}.Select(facts)); got != "[fd00::7]" {
		t.Errorf("selected %s", got)
	}
}

// B41: where healthCheckNodePorts are listened on.
func TestB41ListenAddresses(t *testing.T) {
	facts := Facts{Node: Node{Addresses: addrList("10.0.0.7 fd00::7")}, Families: dataplane.Families(),
		Local: addrList("192.0.2.7 127.0.0.1 10.0.0.7 169.254.20.10 2001:db8::7 fd00::7 fe80::1")}
	for setting, want := range map[string]string{
		"":                                "0.0.0.0 ::",
		"all":                             "0.0.0.0 ::",
		"0.0.0.0/0 10.0.0.0/8 fd00::/8":   "0.0.0.0 fd00::7",
		"10.0.0.0/8":                      "10.0.0.7 ::",
		"primary":                         "10.0.0.7 fd00::7",
		"localhost":                       "127.0.0.1 ::1",
		"localhost primary 192.0.2.0/24":  "10.0.0.7 127.0.0.1 192.0.2.7 ::1 fd00::7",
		"172.16.0.0/12 2001:db8:9::/48":   "",
		"0.0.0.0/1 128.0.0.0/1 fe80::/10": "10.0.0.7 127.0.0.1 192.0.2.7",
	} {
		parsed, err := ParseNodePortAddresses(strings.Fields(setting))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Trim(fmt.Sprint(parsed.Listen(facts)), "[]"); got != want {
			t.Errorf("%q: listening on %q, want %q", setting, got, want)
		}
	}
}

func TestNodePortAddressesRefused(t *testing.T) {
	for _, c := range []struct {
		setting string
		wrong   int
	}{
		{"primary primary", 1}, {"10.0.0.1", 1}, {"Primary 300.0.0.0/8 all", 2}, {"10.0.0.0/8 10.0.0.0/8", 0}, {"", 0},
	} {
		_, err := ParseNodePortAddresses(strings.Fields(c.setting))
		var joined interface{ Unwrap() []error }
		wrong := 0
		if errors.As(err, &joined) {
			wrong = len(joined.Unwrap())
		}
		if wrong != c.wrong || errors.Is(err, ErrNodePortAddresses) != (c.wrong > 0) {
			t.Errorf("%q: %d errors, want %d: %v", c.setting, wrong, c.wrong, err)
		}
	}
}
