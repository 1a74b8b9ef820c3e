package conntrack

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// conntrack and vishvananda/netlink repeat all that they have read when they delete an entry. We send what identifies it:
// the same, as far as it goes.
func TestDeleteLikeOtherPrograms(t *testing.T) {
	text, err := os.ReadFile("testdata/captured.txt")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for line := range strings.Lines(string(text)) {
		part := strings.Split(strings.TrimSpace(line), " | ")
		theirs, err := hex.DecodeString(part[len(part)-1])
		if len(part) != 3 || err != nil {
			continue
		}
		message, _, err := nlbatch.Next(theirs)
		if err != nil {
			t.Fatalf("%s: %v", part[1], err)
		}
		one, err := parseEntry(message.Payload)
		if err != nil {
			t.Fatalf("%s: %v", part[1], err)
		}
		family := dataplane.FamilyOf(one.original.to.Addr())
		ours := nlbatch.Marshal(func(b []byte) []byte {
			return append(begin(b, family, nl.IPCTNL_MSG_CT_DELETE, 0), one.identity...)
		})
		compared++
		header := nlbatch.Message{}
		if header, _, err = nlbatch.Next(ours); err != nil || header.Type != message.Type || header.Flags != message.Flags ||
			!bytes.Equal(header.Payload[:headerLength], message.Payload[:headerLength]) {
			t.Errorf("%s %s: %+v, not %+v, %v", part[0], part[1], header, message, err)
		}
		sameAttributes(t, part[1], header.Payload[headerLength:], message.Payload[headerLength:])
	}
	if compared != 3 {
		t.Errorf("%d requests compared, not 3", compared)
	}
}

// sameAttributes fails the test unless theirs has every attribute of ours, flags included.
func sameAttributes(t *testing.T, what string, ours, theirs []byte) {
	t.Helper()
	found := 0
	if err := nlbatch.EachAttribute(ours, func(kind uint16, value []byte) error {
		found++
		flags := uint16(0)
		if kind == nl.CTA_TUPLE_ORIG {
			flags = nl.NLA_F_NESTED
		}
		if whole := nlbatch.Bytes(nil, kind|flags, value); !bytes.Contains(ours, whole) || !bytes.Contains(theirs, whole) {
			t.Errorf("%s: attribute % x in ours only", what, whole)
		}
		return nil
	}); err != nil || found == 0 {
		t.Errorf("%s: %d attributes, %v", what, found, err)
	}
}
