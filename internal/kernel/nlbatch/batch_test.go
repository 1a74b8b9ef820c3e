package nlbatch

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// every7th refuses every seventh operation, and the last if there are 50.
func every7th(i int) unix.Errno {
	if i%7 == 3 {
		return unix.ESRCH
	}
	return 0
}

func run(c *Conn, n int) []error {
	return c.Batch(context.Background(), n, func(b []byte, i int) []byte { return operation(b, i, every7th(i)) })
}

// checkRun fails the test unless exactly every seventh operation was refused, and the others were carried out.
func checkRun(t *testing.T, k *fakeKernel, answers []error) {
	t.Helper()
	for i, err := range answers {
		if RefusedWith(err) != every7th(i) || (err != nil) != (every7th(i) != 0) {
			t.Fatalf("operation %d: %v", i, err)
		}
		if every7th(i) == 0 && !slices.Contains(k.done, uint32(i)) {
			t.Fatalf("operation %d is missing", i)
		}
	}
}

func TestRefusalsKeepTheirPlace(t *testing.T) {
	for _, join := range []int{0, 2, 100} { // answers spread over several reads, or together
		for _, n := range []int{0, 1, 4, 49, 50, 51, 1000} {
			k, c := newFake(t)
			k.join = join
			checkRun(t, k, run(c, n))
			if sends := (n + fakeMessages - 1) / fakeMessages; len(k.sizes) != sends {
				t.Errorf("%d operations in sends of %v", n, k.sizes)
			}
			if !slices.IsSorted(k.done) {
				t.Errorf("carried out in the order %v", k.done)
			}
		}
	}
}

func TestSendsStayWithinTheirBytes(t *testing.T) {
	k, c := newFake(t)
	answers := c.Batch(context.Background(), 9, func(b []byte, i int) []byte {
		return append(operation(b, i, 0), make([]byte, []int{1001, fakeBytes, 1001}[i%3])...)
	})
	if err := errors.Join(answers...); err != nil {
		t.Error(err)
	}
	if !slices.Equal(k.sizes, []int{1, 1, 2, 1, 2, 1, 1}) { // one that is too long goes alone, for the kernel to judge
		t.Errorf("sends of %v messages", k.sizes)
	}
}

func TestLostAnswersAreAskedForAgain(t *testing.T) {
	for _, capacity := range []int{1, 2, 5, 49} {
		k, c := newFake(t)
		k.capacity = capacity
		checkRun(t, k, run(c, 700))
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"short":     func(b []byte) []byte { return b[:len(b)-2] },
		"no header": func(b []byte) []byte { return b[:7] },
		"too long":  func(b []byte) []byte { b = slices.Clone(b); b[0]++; return b },
		"empty":     func([]byte) []byte { return nil },
		"no number": func(b []byte) []byte { return complete(slices.Clone(b[:unix.NLMSG_HDRLEN+2]), 0, 1) },
	} {
		k, c := newFake(t)
		left := 4
		k.mangle = func(b []byte) []byte {
			if left--; left >= 0 {
				return spoil(b)
			}
			return b
		}
		checkRun(t, k, run(c, 100))
		if left >= 0 {
			t.Errorf("%s: nothing was spoilt", name)
		}
	}
}

// Whether the kernel has seen it is what an error has to tell.
func TestOutcomeIsUnknownOnlyIfItWasSent(t *testing.T) {
	k, c := newFake(t)
	k.mangle = func(b []byte) []byte { return b[:3] }
	for i, err := range run(c, 60) {
		if !errors.Is(err, dataplane.ErrUnknown) || !errors.Is(err, ErrMalformed) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	k, c = newFake(t)
	k.send = func() (error, bool) { return nil, false }
	for i, err := range run(c, 60) {
		if !errors.Is(err, dataplane.ErrUnknown) || !errors.Is(err, ErrLost) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	k, c = newFake(t)
	k.send = func() (error, bool) { return unix.EBADF, false }
	for i, err := range run(c, 60) {
		if errors.Is(err, dataplane.ErrUnknown) || !errors.Is(err, unix.EBADF) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
}

func TestAnswersToWhatWasGivenUpAreIgnored(t *testing.T) {
	k, c := newFake(t)
	run(c, 50)
	for seq := range uint32(50) {
		k.queue = append(k.queue, answerTo(Message{Seq: seq + 1}, unix.NLMSG_ERROR, 0, unix.EIO))
	}
	k.queue = append(k.queue, answerTo(Message{Seq: 101}, unix.NLMSG_ERROR, 0, unix.EIO), answerTo(Message{Seq: 51}, typeItem, 0, 0))
	checkRun(t, k, run(c, 50))
	c.seq = ^uint32(0) - 20 // and around the end of the numbers
	checkRun(t, k, run(c, 100))
}

func TestBrokenSocketIsReplaced(t *testing.T) {
	k, c := newFake(t)
	k.dial = func() (Wire, error) {
		if k.dials < 3 {
			return deadWire{}, nil
		}
		return k, nil
	}
	checkRun(t, k, run(c, 100))
	if k.dials != 3 {
		t.Errorf("%d sockets", k.dials)
	}
	k.dial = func() (Wire, error) { return nil, unix.EMFILE }
	if err := c.drop(); err != nil {
		t.Fatal(err)
	}
	for i, err := range run(c, 10) {
		if !errors.Is(err, unix.EMFILE) || errors.Is(err, dataplane.ErrUnknown) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	k.dial = nil
	checkRun(t, k, run(c, 10))
}

// A socket that keeps delivering rubbish is given up.
func TestSocketThatDoesNotBecomeEmptyIsReplaced(t *testing.T) {
	k, c := newFake(t)
	rubbish := 1
	k.mangle = func(b []byte) []byte {
		if rubbish > 0 {
			rubbish--
			for range leftovers + 1 {
				k.queue = append(k.queue, []byte{1})
			}
			return b[:1]
		}
		return b
	}
	checkRun(t, k, run(c, 10))
	if k.closes != 1 || k.dials != 2 {
		t.Errorf("%d sockets, %d of them closed", k.dials, k.closes)
	}
}

func TestContextEndsABatchBetweenSends(t *testing.T) {
	for _, lost := range []bool{false, true} {
		k, c := newFake(t)
		ctx, cancel := context.WithCancel(context.Background())
		k.send = func() (error, bool) {
			cancel()
			return nil, !lost
		}
		answers := c.Batch(ctx, 120, func(b []byte, i int) []byte { return operation(b, i, every7th(i)) })
		for i, err := range answers {
			first := i < fakeMessages
			switch {
			case first && !lost && RefusedWith(err) != every7th(i),
				(!first || lost) != errors.Is(err, context.Canceled),
				(first && lost) != errors.Is(err, dataplane.ErrUnknown):
				t.Fatalf("lost %v, operation %d: %v", lost, i, err)
			}
		}
	}
}

func TestWhatIsNotPermittedIsSaidOnce(t *testing.T) {
	k, c := newFake(t)
	k.deny = true
	for i, err := range run(c, 120) {
		if RefusedWith(err) != unix.EPERM || errors.Is(err, dataplane.ErrUnknown) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
}

func TestClosed(t *testing.T) {
	k, c := newFake(t)
	checkRun(t, k, run(c, 10))
	for range 2 {
		if err := c.Close(); err != nil || k.closes != 1 {
			t.Errorf("closed %d times: %v", k.closes, err)
		}
	}
	if err := run(c, 1)[0]; !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if _, err := items(context.Background(), c); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}
