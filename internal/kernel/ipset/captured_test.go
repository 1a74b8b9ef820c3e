package ipset

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// recorder is a wire to a kernel that agrees to everything and knows one revision of each set type.
type recorder struct {
	revision uint8
	sent     map[uint8][]byte // the last message of each command, sequence number 0
	queue    [][]byte
}

func (r *recorder) Close() error { return nil }

func (r *recorder) Send(b []byte) error {
	m, _, err := nlbatch.Next(b)
	if err != nil {
		return err
	}
	whole := slices.Clone(b)
	binary.NativeEndian.PutUint32(whole[8:], 0)
	r.sent[uint8(m.Type)] = whole
	answer := func(kind uint16, payload []byte) {
		b := append(nlbatch.Begin(nil, kind, 0), payload...)
		binary.NativeEndian.PutUint32(b, uint32(len(b)))
		binary.NativeEndian.PutUint32(b[8:], m.Seq)
		r.queue = append(r.queue, b)
	}
	switch uint8(m.Type) {
	case cmdType:
		answer(m.Type, append(nlbatch.Uint8(make([]byte, nfHeaderLen), attrRevision, r.revision), nlbatch.Uint8(nil, attrRevisionMin, r.revision)...))
	case cmdProtocol:
		answer(m.Type, nlbatch.Uint8(make([]byte, nfHeaderLen), attrProtocol, protocolMax))
	}
	answer(unix.NLMSG_ERROR, make([]byte, 20))
	return nil
}

func (r *recorder) Receive(b []byte) (int, error) {
	if len(r.queue) == 0 {
		return 0, unix.EAGAIN
	}
	n := copy(b, r.queue[0])
	r.queue = r.queue[1:]
	return n, nil
}

// captured are requests of other programs by command line.
func captured(t *testing.T, program string) map[string][][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/captured.txt")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][][]byte{}
	for line := range strings.Lines(string(text)) {
		part := strings.Split(strings.TrimSpace(line), " | ")
		if len(part) != 3 || !strings.HasPrefix(part[0], program) {
			continue
		}
		b, err := hex.DecodeString(part[2])
		if err != nil {
			continue // the heading
		}
		found[part[1]] = append(found[part[1]], b)
	}
	return found
}

// doings are what the driver does in the place of a command.
func doings(c *conn) map[string]func() error {
	ctx := context.Background()
	create := func(name string, kind dataplane.SetType, family dataplane.Family, marks bool) func() error {
		return func() error {
			return c.create(ctx, dataplane.Set{Name: name, Type: kind, Family: family, HashSize: 1024, MaxElem: 65536, Marks: marks}, 0)
		}
	}
	change := func(verb dataplane.Verb, kind dataplane.SetType, set, addr string, port uint16, more dataplane.Entry) func() error {
		more.Set, more.Port = set, port
		more.Addr, _ = netip.ParseAddr(addr)
		return func() error {
			c.types[set] = kind
			return errors.Join(c.apply(ctx, []dataplane.Operation{{Verb: verb, Object: more}})...)
		}
	}
	peer := netip.MustParsePrefix
	return map[string]func() error{
		"-exist create S hash:ip,port family inet hashsize 1024 maxelem 65536":             create("S", dataplane.HashIPPort, dataplane.IPv4, false),
		"-exist create S2 hash:ip,port family inet hashsize 1024 maxelem 65536":            create("S2", dataplane.HashIPPort, dataplane.IPv4, false),
		"-exist create T hash:ip,port family inet6 hashsize 1024 maxelem 65536 skbinfo":    create("T", dataplane.HashIPPort, dataplane.IPv6, true),
		"-exist create N hash:ip,port,net family inet hashsize 1024 maxelem 65536 skbinfo": create("N", dataplane.HashIPPortNet, dataplane.IPv4, true),
		"-exist create I hash:ip,port,ip family inet hashsize 1024 maxelem 65536":          create("I", dataplane.HashIPPortIP, dataplane.IPv4, false),
		"-exist create H hash:ip family inet6 hashsize 1024 maxelem 65536":                 create("H", dataplane.HashIP, dataplane.IPv6, false),
		"-exist create P bitmap:port range 0-65535":                                        create("P", dataplane.BitmapPort, dataplane.IPv4, false),
		"-exist add S 10.0.0.1,tcp:443":                                                    change(dataplane.Add, dataplane.HashIPPort, "S", "10.0.0.1", 443, dataplane.Entry{Protocol: dataplane.TCP}),
		"-exist add T fd00::1,udp:53 skbmark 0x12":                                         change(dataplane.Add, dataplane.HashIPPort, "T", "fd00::1", 53, dataplane.Entry{Protocol: dataplane.UDP, Mark: 0x12}),
		"-exist add N 10.0.0.1,tcp:80,10.1.0.0/16 skbmark 0x3fff":                          change(dataplane.Add, dataplane.HashIPPortNet, "N", "10.0.0.1", 80, dataplane.Entry{Protocol: dataplane.TCP, Peer: peer("10.1.0.0/16"), Mark: 0x3fff}),
		"-exist add I 10.0.0.1,sctp:9,10.0.0.2":                                            change(dataplane.Add, dataplane.HashIPPortIP, "I", "10.0.0.1", 9, dataplane.Entry{Protocol: dataplane.SCTP, Peer: peer("10.0.0.2/32")}),
		"-exist add H fd00::1":                                                             change(dataplane.Add, dataplane.HashIP, "H", "fd00::1", 0, dataplane.Entry{}),
		"-exist add P 30080":                                                               change(dataplane.Add, dataplane.BitmapPort, "P", "", 30080, dataplane.Entry{}),
		"-exist del S 10.0.0.1,tcp:443":                                                    change(dataplane.Delete, dataplane.HashIPPort, "S", "10.0.0.1", 443, dataplane.Entry{Protocol: dataplane.TCP}),
		"-exist del P 30080":                                                               change(dataplane.Delete, dataplane.BitmapPort, "P", "", 30080, dataplane.Entry{}),
		"list S":                                                                           func() error { _, _, err := c.contents(ctx, "S"); return err },
		"swap S S2":                                                                        func() error { return c.swap(ctx, "S", "S2") },
		"-exist destroy S2":                                                                func() error { return c.destroy(ctx, "S2") },
	}
}

// The driver sends what the ipset tool sends, byte by byte, once three things are put aside: the tool's line number at the end
// of an entry, the header of a set that it asks for first, and the acknowledgement that we have of every request.
func TestSendsLikeTheTool(t *testing.T) {
	r := &recorder{sent: map[uint8][]byte{}}
	c := conn{version: protocolMax, types: map[string]dataplane.SetType{}, warn: func(string) {},
		batch: nlbatch.New(func() (nlbatch.Wire, nlbatch.Limits, error) { return r, nlbatch.Limits{Bytes: 4096, Messages: 9}, nil })}
	do, theirs := doings(&c), captured(t, "ipset")
	if len(theirs) != len(do) {
		t.Errorf("%d commands captured, %d known", len(theirs), len(do))
	}
	for command, messages := range theirs {
		run := do[strings.TrimPrefix(command, "ipset ")]
		if run == nil {
			t.Errorf("%s: not known", command)
			continue
		}
		clear(r.sent)
		r.revision = revisionIn(t, messages)
		if err := run(); err != nil {
			t.Errorf("%s: %v", command, err)
		}
		for _, message := range messages {
			if uint8(message[4]) == cmdProtocol {
				continue // asked when the driver is opened
			}
			want := withoutLine(message)
			got := r.sent[uint8(message[4])]
			if got == nil {
				t.Errorf("%s: command %d is not sent", command, message[4])
				continue
			}
			want[6] |= unix.NLM_F_ACK
			if strings.Contains(command, "inet6") && message[4] == cmdType {
				// The tool asks before it has read the family. It is the last attribute.
				want, got = want[:len(want)-8], got[:len(got)-8]
			}
			if strings.Contains(command, "skbinfo") && message[4] == cmdCreate {
				sortLast(want)
				sortLast(got)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s:\ntheirs %x\nours   %x", command, want, got)
			}
		}
	}
}

// sortLast sorts the parameters of a set with skbinfo, three attributes of eight bytes: the tool has an order of its own.
func sortLast(b []byte) {
	last := slices.Collect(slices.Chunk(slices.Clone(b[len(b)-24:]), 8))
	slices.SortFunc(last, bytes.Compare)
	copy(b[len(b)-24:], slices.Concat(last...))
}

// revisionIn returns the revision in a request to create a set, 0 if there is none.
func revisionIn(t *testing.T, messages [][]byte) uint8 {
	t.Helper()
	last := messages[len(messages)-1]
	if last[4] != cmdCreate {
		return 0
	}
	return inner(t, last[unix.NLMSG_HDRLEN+nfHeaderLen:], attrRevision)[0]
}

// withoutLine takes the line number off the end of an entry.
func withoutLine(message []byte) []byte {
	b := slices.Clone(message)
	short, found := bytes.CutSuffix(b, []byte{8, 0, 9, 0x40, 0, 0, 0, 0})
	if !found {
		return b
	}
	binary.NativeEndian.PutUint32(short, uint32(len(short)))
	data := bytes.Index(short, []byte{byte(attrData), 0x80}) - 2
	binary.NativeEndian.PutUint16(short[data:], uint16(len(short)-data))
	return short
}

// vishvananda/netlink orders the attributes of an entry otherwise and takes nfgen_family for the set's.
func TestSendsTheAttributesOfTheLibrary(t *testing.T) {
	requests := captured(t, "vishvananda")
	entry := dataplane.Entry{Set: "V", Addr: netip.MustParseAddr("10.0.0.1"), Protocol: dataplane.TCP, Port: 443}
	for command, messages := range requests {
		var e encoder
		encodeEntry(&e, entry)
		ours := inner(t, e.b, attrData)
		theirs := inner(t, messages[0][unix.NLMSG_HDRLEN+nfHeaderLen:], attrData)
		for _, kind := range []uint16{attrIP, attrPort, attrProto} {
			if got, want := inner(t, ours, kind), inner(t, theirs, kind); !bytes.Equal(got, want) || got == nil {
				t.Errorf("%s: attribute %d is %x, not %x", command, kind, got, want)
			}
		}
	}
	if len(requests) != 2 {
		t.Errorf("%d requests, not 2", len(requests))
	}
}
