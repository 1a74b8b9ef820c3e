package nlbatch

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func items(ctx context.Context, c *Conn) (int, error) {
	found, err := Query(ctx, c, dumpRequest, func(m Message) (int32, error) {
		if m.Type != typeItem || len(m.Payload) < 4 {
			return 0, ErrMalformed
		}
		return int32(binary.NativeEndian.Uint32(m.Payload)), nil
	})
	return len(found), err
}

// with returns a copy of an answer with further flags and, at the end of a dump, another errno.
func with(b []byte, flags uint16, errno unix.Errno) []byte {
	b = slices.Clone(b)
	setFlags(b, flagsOf(b)|flags)
	if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_DONE {
		binary.NativeEndian.PutUint32(b[unix.NLMSG_HDRLEN:], uint32(-int32(errno)))
	}
	return b
}

// P05: what is interrupted, refused with EINTR, cut short or lost is read again, from the beginning.
func TestReadsAreRepeated(t *testing.T) {
	for name, spoil := range map[string]func(*fakeKernel, []byte) []byte{
		"interrupted": func(_ *fakeKernel, b []byte) []byte { return with(b, unix.NLM_F_DUMP_INTR, 0) },
		"EINTR":       func(_ *fakeKernel, b []byte) []byte { return with(b, 0, unix.EINTR) },
		"short":       func(_ *fakeKernel, b []byte) []byte { return b[:len(b)-1] },
		"overrun":     func(k *fakeKernel, b []byte) []byte { k.overrun = true; return b[:0] },
		"cut off":     func(k *fakeKernel, b []byte) []byte { k.queue = nil; return b[:0] },
	} {
		for _, join := range []int{0, 2} {
			k, c := newFake(t)
			k.join = join
			spoilt := 0
			k.mangle = func(b []byte) []byte {
				if spoilt++; spoilt < 6 && (name != "EINTR" || binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_DONE) {
					return spoil(k, b)
				}
				return b
			}
			if n, err := items(context.Background(), c); n != 3 || err != nil {
				t.Errorf("%s, %d in a datagram: %d items, %v", name, join, n, err)
			}
		}
	}
}

func TestReadsNeverReturnAPart(t *testing.T) {
	for name, test := range map[string]struct {
		mangle func([]byte) []byte
		want   error
	}{
		"interrupted for ever": {func(b []byte) []byte { return with(b, unix.NLM_F_DUMP_INTR, 0) }, ErrInterrupted},
		"refused at the end":   {func(b []byte) []byte { return with(b, 0, unix.EPERM) }, unix.EPERM},
		"cut short for ever":   {func(b []byte) []byte { return b[:len(b)-2] }, ErrMalformed},
		"of another type":      {func(b []byte) []byte { b = slices.Clone(b); b[4] ^= 0x80; return b }, ErrMalformed},
		"empty for ever":       {func([]byte) []byte { return nil }, ErrMalformed},
	} {
		k, c := newFake(t)
		k.mangle = test.mangle
		if n, err := items(context.Background(), c); !errors.Is(err, test.want) || n != 0 {
			t.Errorf("%s: %d items, %v", name, n, err)
		}
		k.mangle = nil
		if n, err := items(context.Background(), c); n != 3 || err != nil {
			t.Errorf("%s: afterwards %d items, %v", name, n, err)
		}
	}
}

func TestLostForEver(t *testing.T) {
	k, c := newFake(t)
	k.send = func() (error, bool) { k.overrun = true; return nil, false }
	if n, err := items(context.Background(), c); !errors.Is(err, ErrLost) || !errors.Is(err, unix.ENOBUFS) || n != 0 {
		t.Errorf("%d items, %v", n, err)
	}
}

func TestRefusedRequestIsNotRepeated(t *testing.T) {
	k, c := newFake(t)
	ask := func(b []byte) []byte { return operation(b, 1, unix.ENOENT) }
	if err := c.Exchange(ask, func(Message) error { return nil }); RefusedWith(err) != unix.ENOENT {
		t.Error(err)
	}
	if _, err := Query(context.Background(), c, ask, func(Message) (int, error) { return 0, nil }); RefusedWith(err) != unix.ENOENT {
		t.Error(err)
	}
	if len(k.sizes) != 2 {
		t.Errorf("%d sends", len(k.sizes))
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	_, c := newFake(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := items(ctx, c); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
