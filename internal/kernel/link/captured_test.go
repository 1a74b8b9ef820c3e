package link

import (
	"encoding/hex"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// What ip and vishvananda/netlink send for an address is what we send, bit for bit.
func TestEncodeLikeOtherPrograms(t *testing.T) {
	text, err := os.ReadFile("testdata/captured.txt")
	if err != nil {
		t.Fatal(err)
	}
	action, compared := regexp.MustCompile(`(?i)addr ?(add|del) .*?([0-9a-f.:]+)/\d+`), 0
	for line := range strings.Lines(string(text)) {
		part := strings.Split(strings.TrimSpace(line), " | ")
		words := action.FindStringSubmatch(line)
		if len(part) != 3 || words == nil {
			continue
		}
		verb := map[string]dataplane.Verb{"add": dataplane.Add, "del": dataplane.Delete}[strings.ToLower(words[1])]
		ours := nlbatch.Marshal(func(b []byte) []byte { return appendAddressRequest(b, verb, 2, netip.MustParseAddr(words[2])) })
		if got := hex.EncodeToString(ours); got != part[2] {
			t.Errorf("%s %s:\ntheirs %s\nours   %s", part[0], part[1], part[2], got)
		}
		compared++
	}
	if compared != 8 {
		t.Errorf("%d requests compared, not 8", compared)
	}
}
