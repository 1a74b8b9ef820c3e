package ipvs

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// objectOf returns what a request of another program is about.
func objectOf(t *testing.T, command uint8, body []byte) dataplane.Object {
	t.Helper()
	fields, err := parseService(body)
	if err != nil {
		t.Fatal(err)
	}
	key, err := fields.key()
	if err != nil {
		t.Fatal(err)
	}
	switch command {
	case newService, setService:
		v, err := decodeService(body)
		if err != nil {
			t.Fatal(err)
		}
		return v
	case delService:
		return dataplane.VirtualServer{Key: key}
	}
	nested, _, err := nlbatch.FindAttribute(body, attrDest)
	if err != nil {
		t.Fatal(err)
	}
	// A deletion lacks the state, and moby/ipvs the family.
	dest := destFields{family: addressFamily(key.Family), seen: 1<<destForwarding | 1<<destWeight}
	if err := nlbatch.EachAttribute(nested, dest.read); err != nil {
		t.Fatal(err)
	}
	d, err := dest.destination()
	if err != nil {
		t.Fatal(err)
	}
	return dataplane.Member{VirtualServer: key, RealServer: d.RealServer}
}

// Every command, as moby/ipvs and ipvsadm send it for each kind of virtual server: same type, flags and command, and of the
// attributes that they and we send the same values. They identify virtual servers by more than is needed, and addresses
// by 16 bytes.
func TestEveryCommandLikeOtherPrograms(t *testing.T) {
	text, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	compared := map[string]int{}
	for line := range strings.Lines(string(text)) {
		part := strings.Split(strings.TrimSpace(line), " | ")
		whole, err := hex.DecodeString(part[len(part)-1])
		if len(part) != 3 || err != nil {
			continue // the heading
		}
		theirs, _, err := nlbatch.Next(whole)
		if err != nil {
			t.Fatalf("%s: %v", part[1], err)
		}
		command, body := theirs.Payload[0], theirs.Payload[genericHeader:]
		r := request{command: command, object: objectOf(t, command, body)}
		ours, _, err := nlbatch.Next(nlbatch.Marshal(func(b []byte) []byte {
			return appendBody(begin(b, theirs.Type, r.command, 0), r.object, r.full())
		}))
		if err != nil || ours.Flags != theirs.Flags || !bytes.Equal(ours.Payload[:genericHeader], theirs.Payload[:genericHeader]) {
			t.Errorf("%s: %+v, not %+v, %v", part[1], ours, theirs, err)
		}
		compareAttributes(t, part[0]+" "+part[1], ours.Payload[genericHeader:], body)
		compared[part[0]]++
	}
	for program, n := range compared {
		if n != 18 {
			t.Errorf("%s: %d requests, not 18", program, n)
		}
	}
	if len(compared) != 2 {
		t.Errorf("requests of %d programs", len(compared))
	}
}

// compareAttributes compares what both have.
func compareAttributes(t *testing.T, what string, ours, theirs []byte) {
	t.Helper()
	for _, outer := range []uint16{attrService, attrDest} {
		if _, found, err := nlbatch.FindAttribute(ours, outer); err != nil || !found {
			continue
		}
		have, want := attributesOf(t, ours, outer), attributesOf(t, theirs, outer)
		for kind, value := range have {
			given, both := want[kind]
			switch {
			case !both && outer == attrDest && kind == destFamily: // moby/ipvs, and kernels before 3.18
			case !both:
				t.Errorf("%s: attribute %d in %d is ours only", what, kind, outer)
			case outer == attrService && kind == svcAddr, outer == attrDest && kind == destAddr:
				if !bytes.HasPrefix(given, value) || len(bytes.Trim(given[len(value):], "\x00")) > 0 || len(value) != addressLength(have) {
					t.Errorf("%s: address %x, not %x", what, value, given)
				}
			case !bytes.Equal(value, given):
				t.Errorf("%s: attribute %d in %d is %x, not %x", what, kind, outer, value, given)
			}
		}
	}
}

// addressLength is how long the address among the attributes has to be, of a service or of a destination.
func addressLength(attributes map[uint16][]byte) int {
	family := attributes[svcFamily]
	if of, isDest := attributes[destFamily]; isDest && len(of) == 2 {
		family = of
	}
	if len(family) == 2 && family[0] == unix.AF_INET6 {
		return 16
	}
	return 4
}
