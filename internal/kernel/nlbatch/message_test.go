package nlbatch

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// explained is a refusal with a text, after the header of a request of the given length or after all of it.
func explained(seq uint32, capped bool, request int, text string) []byte {
	flags, copied := uint16(unix.NLM_F_ACK_TLVS|unix.NLM_F_CAPPED), 0
	if !capped {
		flags, copied = unix.NLM_F_ACK_TLVS, align(request)-unix.NLMSG_HDRLEN
	}
	b := answerTo(Message{Seq: seq}, unix.NLMSG_ERROR, flags, unix.EINVAL)
	binary.NativeEndian.PutUint32(b[unix.NLMSG_HDRLEN+errnoLength:], uint32(request))
	b = append(b, make([]byte, copied)...)
	b = Uint32(b, 2, 99) // NLMSGERR_ATTR_OFFS
	return complete(String(b, attributeText, text), 0, seq)
}

func TestRefusalsCarryTheKernelsWords(t *testing.T) {
	const text = "Invalid prefix length"
	for _, capped := range []bool{true, false} {
		for _, request := range []int{16, 17, 40} {
			m, rest, err := Next(explained(1, capped, request, text))
			if err != nil || len(rest) != 0 {
				t.Fatal(err)
			}
			outcome, err := m.status()
			if err != nil || RefusedWith(outcome) != unix.EINVAL || outcome.Error() != "invalid argument: "+text {
				t.Errorf("capped %v, request of %d: %v, %v", capped, request, outcome, err)
			}
			if !errors.Is(outcome, unix.EINVAL) {
				t.Errorf("the errno is lost in %v", outcome)
			}
			for cut := range m.Payload { // whatever is missing, the errno is what counts
				short := m
				short.Payload = m.Payload[:cut]
				if outcome, err := short.status(); cut >= errnoLength && (err != nil || RefusedWith(outcome) != unix.EINVAL) {
					t.Errorf("cut off after %d: %v, %v", cut, outcome, err)
				}
			}
		}
	}
}

func TestNext(t *testing.T) {
	b := complete(Uint16(Begin(nil, 34, 4), 1, 2), 0, 7)
	m, rest, err := Next(append(b, 9))
	if err != nil || m.Type != 34 || m.Flags != 5 || m.Seq != 7 || len(m.Payload) != 8 || !slices.Equal(rest, []byte{9}) {
		t.Errorf("read %+v, %x, %v", m, rest, err)
	}
	for _, bad := range [][]byte{nil, b[:15], b[:len(b)-1], append([]byte{15, 0, 0, 0}, b[4:]...)} {
		if _, _, err := Next(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: error is %v", bad, err)
		}
	}
}

func TestAttributesSurviveTheWayThereAndBack(t *testing.T) {
	b := Uint8(nil, 1, 7)
	b = Uint16(b, 2, 0x102)
	b = Uint16BE(b, 3|unix.NLA_F_NET_BYTEORDER, 0x102)
	b = Uint32(b, 4, 0x1020304)
	b = Uint32BE(b, 5, 0x1020304)
	b = Uint64BE(b, 6, 0x102030405060708)
	b = String(b, 7, "abc")
	b = Bytes(b, 8, []byte{1, 2, 3, 4, 5})
	b = Nested(b, 9|unix.NLA_F_NESTED, func(b []byte) []byte { return Uint8(b, 1, 1) })
	if len(b)%4 != 0 {
		t.Errorf("%d bytes", len(b))
	}
	want := [][]byte{{7}, binary.NativeEndian.AppendUint16(nil, 0x102), {1, 2}, binary.NativeEndian.AppendUint32(nil, 0x1020304),
		{1, 2, 3, 4}, {1, 2, 3, 4, 5, 6, 7, 8}, []byte("abc\x00"), {1, 2, 3, 4, 5}, Uint8(nil, 1, 1)}
	var got [][]byte
	if err := EachAttribute(b, func(kind uint16, value []byte) error {
		if int(kind) != len(got)+1 {
			t.Errorf("attribute %d in place %d", kind, len(got))
		}
		got = append(got, value)
		return nil
	}); err != nil {
		t.Error(err)
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %x, want %x", got, want)
	}
	if value, found, err := FindAttribute(b, 8); !slices.Equal(value, want[7]) || !found || err != nil {
		t.Errorf("found %x, %v, %v", value, found, err)
	}
	if _, found, err := FindAttribute(b, 10); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	for _, bad := range [][]byte{{1}, {3, 0, 1, 0}, {8, 0, 1, 0, 1}} {
		if _, _, err := FindAttribute(bad, 1); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

// Whatever arrives in the place of an answer, a batch and a read end with results that are those of the kernel or say
// that they are none, and the next ones are not disturbed.
func FuzzAnswers(f *testing.F) {
	f.Add(answerTo(Message{Seq: 2}, unix.NLMSG_ERROR, unix.NLM_F_CAPPED, unix.EEXIST), uint8(0))
	f.Add(answerTo(Message{Seq: 13}, unix.NLMSG_DONE, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, 0), uint8(4))
	f.Add(answerTo(Message{Seq: 13}, typeItem, unix.NLM_F_MULTI, 7), uint8(3))
	f.Add(explained(3, true, 40, "text"), uint8(1))
	f.Add(explained(3, false, 40, "text"), uint8(1))
	f.Add(append(answerTo(Message{Seq: 4}, unix.NLMSG_ERROR, 0, 0), answerTo(Message{Seq: 12}, unix.NLMSG_ERROR, 0, 0)...), uint8(0))
	f.Fuzz(func(t *testing.T, datagram []byte, at uint8) {
		for rest := datagram; len(rest) > 0; {
			m, more, err := Next(rest)
			if err != nil {
				if !errors.Is(err, ErrMalformed) {
					t.Errorf("untyped error: %v", err)
				}
				break
			}
			if _, err := m.status(); err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("untyped error: %v", err)
			}
			rest = more
		}
		k, c := newFake(t)
		received := uint8(0)
		k.mangle = func(b []byte) []byte {
			if received++; received == at+1 {
				return datagram
			}
			return b
		}
		if answers := run(c, 12); len(answers) != 12 {
			t.Errorf("%d answers", len(answers))
		}
		_, _ = items(context.Background(), c)
		k.mangle = nil
		k.done = nil
		checkRun(t, k, run(c, 12))
		if n, err := items(context.Background(), c); n != 3 || err != nil {
			t.Errorf("afterwards: %d items, %v", n, err)
		}
	})
}
