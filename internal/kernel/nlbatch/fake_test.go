package nlbatch

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// Types of the messages that the fake kernel understands.
const (
	typeOp   = 100 // payload: the errno to answer with, and a number to note down
	typeDump = 101 // answered by three messages
	typeItem = 102
)

// fakeKernel is a wire to a kernel that exists in memory. It works a send off at once and queues the answers, as the real
// one does; and it can be made to lose them.
type fakeKernel struct {
	t       testing.TB
	done    []uint32 // numbers of the operations carried out, in order
	sizes   []int    // messages in each send
	queue   [][]byte
	overrun bool
	faults
}

// faults are what can go wrong on the way there and back.
type faults struct {
	capacity int                   // answers that the receive buffer holds; 0: any number
	send     func() (error, bool)  // an error to fail with; false: swallow the send
	mangle   func(b []byte) []byte // what is received instead of a datagram
	join     int                   // answers in one datagram; 0: one
	dials    int                   // sockets opened
	closes   int                   // sockets closed
	deny     bool                  // as nfnetlink does without the capability
	dial     func() (Wire, error)  // another wire
}

const (
	fakeBytes    = 4096
	fakeMessages = 50
)

func newFake(t testing.TB) (*fakeKernel, *Conn) {
	k := &fakeKernel{t: t}
	return k, New(func() (Wire, Limits, error) {
		k.dials++
		if k.dial != nil {
			w, err := k.dial()
			return w, Limits{fakeBytes, fakeMessages}, err
		}
		return k, Limits{fakeBytes, fakeMessages}, nil
	})
}

func (k *fakeKernel) Close() error {
	k.closes++
	k.queue, k.overrun = nil, false
	return nil
}

func (k *fakeKernel) Send(b []byte) error {
	if k.send != nil {
		if err, deliver := k.send(); err != nil || !deliver {
			return err
		}
	}
	if k.deny {
		m, _, _ := Next(b)
		k.answer(m, unix.NLMSG_ERROR, 0, unix.EPERM)
		return nil
	}
	count := 0
	for ; len(b) > 0; count++ {
		m, rest, err := Next(b)
		if err != nil {
			k.t.Errorf("a request is malformed: %v", err)
			return nil
		}
		k.handle(m)
		b = rest
	}
	k.sizes = append(k.sizes, count)
	return nil
}

func (k *fakeKernel) handle(m Message) {
	switch m.Type {
	case typeOp:
		errno := unix.Errno(binary.NativeEndian.Uint32(m.Payload))
		if errno == 0 {
			k.done = append(k.done, binary.NativeEndian.Uint32(m.Payload[4:]))
		}
		if errno != 0 || m.Flags&unix.NLM_F_ACK != 0 {
			k.answer(m, unix.NLMSG_ERROR, unix.NLM_F_CAPPED, errno)
		}
	case typeDump:
		for range 3 {
			k.answer(m, typeItem, unix.NLM_F_MULTI, 7)
		}
		k.answer(m, unix.NLMSG_DONE, unix.NLM_F_MULTI, 0)
	default:
		k.t.Errorf("message of type %d", m.Type)
	}
}

// answerTo makes an answer to a request.
func answerTo(m Message, kind, flags uint16, errno unix.Errno) []byte {
	b := Begin(nil, kind, flags)
	setFlags(b, flags)
	b = binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
	return complete(append(b, make([]byte, unix.NLMSG_HDRLEN)...), 0, m.Seq)
}

func (k *fakeKernel) answer(m Message, kind, flags uint16, errno unix.Errno) {
	b := answerTo(m, kind, flags, errno)
	switch last := len(k.queue) - 1; {
	case k.join > 0 && last >= 0 && len(k.queue[last]) < k.join*len(b):
		k.queue[last] = append(k.queue[last], b...)
	case k.capacity > 0 && len(k.queue) >= k.capacity:
		k.overrun = true
	default:
		k.queue = append(k.queue, b)
	}
}

func (k *fakeKernel) Receive(b []byte) (int, error) {
	if k.overrun {
		k.overrun = false
		return 0, unix.ENOBUFS
	}
	if len(k.queue) == 0 {
		return 0, unix.EAGAIN
	}
	datagram := k.queue[0]
	k.queue = k.queue[1:]
	if k.mangle != nil {
		datagram = k.mangle(datagram)
	}
	return copy(b, datagram), nil
}

// deadWire fails at everything.
type deadWire struct{}

func (deadWire) Send([]byte) error           { return unix.EBADF }
func (deadWire) Receive([]byte) (int, error) { return 0, unix.EBADF }
func (deadWire) Close() error                { return nil }

// operation encodes number i, to be answered with errno.
func operation(b []byte, i int, errno unix.Errno) []byte {
	b = Begin(b, typeOp, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(errno))
	return binary.NativeEndian.AppendUint32(b, uint32(i))
}

func dumpRequest(b []byte) []byte { return Begin(b, typeDump, unix.NLM_F_DUMP) }
