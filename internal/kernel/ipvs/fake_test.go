package ipvs

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// fakeKernel is a wire to an IPVS that exists in memory. It works a send off at once and queues the answers, one
// datagram each, as the kernel does; and it can be made to lose them.
type fakeKernel struct {
	t        testing.TB
	family   uint16 // 0: the module is not loaded
	services map[dataplane.VirtualServerKey]*fakeService
	timeouts [3]uint32

	queue   [][]byte
	overrun bool  // to be reported
	sizes   []int // messages in each send
	closed  int
	faults
}

// faults are what can go wrong on the way to the fake, in it and back.
type faults struct {
	capacity   int                  // answers that the receive buffer holds; 0: any number
	beforeSend func() (error, bool) // an error to fail with; false: swallow the send
	afterMsg   func(command uint8)  // somebody else, between two messages
	mangle     func(datagram []byte) []byte
	narrow     bool                       // statistics as before Linux 4.1
	skipped    dataplane.VirtualServerKey // left out of dumps
}

type fakeService struct {
	dataplane.VirtualServer
	dests   []dataplane.RealServer
	traffic dataplane.Traffic
}

func newFake(t testing.TB) *fakeKernel {
	return &fakeKernel{t: t, family: 34, services: make(map[dataplane.VirtualServerKey]*fakeService)}
}

// connect returns a conn to the fake.
func (k *fakeKernel) connect() *conn {
	k.t.Helper()
	c := newConn(func() (nlbatch.Wire, nlbatch.Limits, error) {
		return k, nlbatch.Limits{Bytes: 200 << 10, Messages: 1000}, nil
	})
	if err := c.ready(context.Background()); err != nil {
		k.t.Fatal(err)
	}
	k.sizes = nil
	return c
}

func (k *fakeKernel) Close() error {
	k.closed++
	k.queue, k.overrun = nil, false // what was to be read goes with the socket
	return nil
}

func (k *fakeKernel) Send(b []byte) error {
	if k.beforeSend != nil {
		if err, deliver := k.beforeSend(); err != nil || !deliver {
			return err
		}
	}
	count := 0
	for len(b) > 0 {
		m, rest, err := nlbatch.Next(b)
		if err != nil {
			k.t.Errorf("a request is malformed: %v", err)
			return nil
		}
		errno := k.handle(m)
		if dump := m.Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP; dump && errno == 0 {
			k.reply(m, unix.NLMSG_DONE, 0)
		} else if errno != 0 || m.Flags&unix.NLM_F_ACK != 0 {
			k.reply(m, unix.NLMSG_ERROR, errno)
		}
		if k.afterMsg != nil {
			k.afterMsg(m.Payload[0])
		}
		b, count = rest, count+1
	}
	k.sizes = append(k.sizes, count)
	return nil
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

func (k *fakeKernel) enqueue(datagram []byte) {
	if k.capacity > 0 && len(k.queue) >= k.capacity {
		k.overrun = true
		return
	}
	k.queue = append(k.queue, datagram)
}

func (k *fakeKernel) reply(m nlbatch.Message, kind uint16, errno unix.Errno) {
	b := binary.NativeEndian.AppendUint32(nil, 16+4+16) // length
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = binary.NativeEndian.AppendUint32(b, m.Seq)
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
	k.enqueue(append(b, make([]byte, 16)...))
}

// answerOf is a part of the answer to a dump.
func answerOf(family uint16, seq uint32, command uint8, fill func([]byte) []byte) []byte {
	b := fill(begin(nil, family, command, 0))
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_MULTI)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return b
}

func (k *fakeKernel) answer(m nlbatch.Message, command uint8, fill func([]byte) []byte) {
	k.enqueue(answerOf(m.Type, m.Seq, command, fill))
}

func (k *fakeKernel) handle(m nlbatch.Message) unix.Errno {
	command, body := m.Payload[0], m.Payload[genericHeader:]
	if m.Type == unix.GENL_ID_CTRL {
		if k.family == 0 {
			return unix.ENOENT
		}
		k.answer(m, unix.CTRL_CMD_NEWFAMILY, func(b []byte) []byte { return nlbatch.Uint16(b, unix.CTRL_ATTR_FAMILY_ID, k.family) })
		return 0
	}
	if m.Type != k.family || k.family == 0 {
		return unix.ENOENT
	}
	switch command {
	case getConfig:
		k.answer(m, setConfig, func(b []byte) []byte { return appendTimeouts(b, k.timeouts[0], k.timeouts[1], k.timeouts[2]) })
		return 0
	case setConfig:
		return k.configure(body)
	case getService:
		if m.Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP {
			for _, s := range k.sorted() {
				if s.Key != k.skipped {
					k.answerService(m, s)
				}
			}
			return 0
		}
	}
	return k.handleObject(m, command, body)
}

func (k *fakeKernel) configure(body []byte) unix.Errno {
	given, err := decodeTimeouts(body)
	if err != nil {
		k.t.Errorf("timeouts: %v", err)
	}
	for i, s := range given {
		if s != 0 {
			k.timeouts[i] = s
		}
	}
	return 0
}

func (k *fakeKernel) sorted() []*fakeService {
	var all []*fakeService
	for _, s := range k.services {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *fakeService) int { return a.Key.Compare(b.Key) })
	return all
}

func (k *fakeKernel) answerService(m nlbatch.Message, s *fakeService) {
	k.answer(m, newService, func(b []byte) []byte {
		return nlbatch.Nested(b, attrService, func(b []byte) []byte {
			return appendStats(appendServiceState(appendKey(b, s.Key), s.VirtualServer), s.traffic, k.narrow)
		})
	})
}

// appendStats appends statistics as the kernel does, or as one before 4.1 did.
func appendStats(b []byte, t dataplane.Traffic, narrow bool) []byte {
	wide := func(b []byte, kind uint16, value uint64) []byte {
		return nlbatch.Bytes(b, kind, binary.NativeEndian.AppendUint64(nil, value))
	}
	count := func(b []byte, kind uint16, value uint64) []byte { return nlbatch.Uint32(b, kind, uint32(value)) }
	statistics := func(b []byte) []byte {
		b = count(count(count(b, statsConnections, t.Connections), statsInPackets, t.InPackets), statsOutPackets, t.OutPackets)
		return nlbatch.Uint32(wide(wide(b, statsInBytes, t.InBytes), statsOutBytes, t.OutBytes), 6, 77) // connections a second
	}
	b = nlbatch.Nested(b, svcStats, statistics)
	if narrow {
		return b
	}
	count = wide
	return nlbatch.Nested(b, svcStats64, statistics)
}

func (k *fakeKernel) handleObject(m nlbatch.Message, command uint8, body []byte) unix.Errno {
	fields, err := parseService(body)
	if err != nil {
		k.t.Errorf("command %d: %v", command, err)
		return unix.EINVAL
	}
	key, err := fields.key()
	if err != nil {
		k.t.Errorf("command %d: %v", command, err)
		return unix.EINVAL
	}
	s := k.services[key]
	switch command {
	case newService, setService:
		return k.storeService(command, key, body)
	case getDest:
		if s != nil {
			k.answerDests(m, s)
		}
		return 0
	}
	if s == nil {
		return unix.ESRCH
	}
	switch command {
	case getService:
		k.answerService(m, s)
		return 0
	case delService:
		delete(k.services, key)
		return 0
	}
	return k.storeDest(command, s, body)
}

func (k *fakeKernel) storeService(command uint8, key dataplane.VirtualServerKey, body []byte) unix.Errno {
	v, err := decodeService(body)
	if err != nil {
		k.t.Errorf("%s: %v", key, err)
		return unix.EINVAL
	}
	s := k.services[key]
	switch {
	case command == newService && s != nil:
		return unix.EEXIST
	case command == setService && s == nil:
		return unix.ESRCH
	case v.Scheduler != "rr" && v.Scheduler != "sh":
		return unix.ENOENT
	case key.Family == dataplane.IPv6 && v.MaskBits == 0:
		return unix.EINVAL
	case s == nil:
		s = &fakeService{}
		k.services[key] = s
	}
	s.VirtualServer = v
	return 0
}

func (k *fakeKernel) answerDests(m nlbatch.Message, s *fakeService) {
	for _, r := range s.dests {
		k.answer(m, newDest, func(b []byte) []byte {
			return nlbatch.Nested(b, attrDest, func(b []byte) []byte {
				b = nlbatch.Uint16BE(nlbatch.Bytes(b, destAddr, r.Addr.Addr().AsSlice()), destPort, r.Addr.Port())
				b = appendDestState(b, r)
				b = nlbatch.Uint16(b, destFamily, addressFamily(dataplane.FamilyOf(r.Addr.Addr())))
				return nlbatch.Uint32(nlbatch.Uint32(b, destActive, 2), destInactive, 1)
			})
		})
	}
}

func (k *fakeKernel) storeDest(command uint8, s *fakeService, body []byte) unix.Errno {
	nested, _, err := nlbatch.FindAttribute(body, attrDest)
	var fields destFields
	if err == nil {
		err = nlbatch.EachAttribute(nested, fields.read)
	}
	if command == delDest { // carries the identity only
		fields.seen |= 1<<destForwarding | 1<<destWeight
	}
	d, destErr := fields.destination()
	if err != nil || destErr != nil {
		k.t.Errorf("%s: %v, %v", s.Key, err, destErr)
		return unix.EINVAL
	}
	i := slices.IndexFunc(s.dests, func(r dataplane.RealServer) bool { return r.Addr == d.Addr })
	switch {
	case command == newDest && i >= 0:
		return unix.EEXIST
	case command != newDest && i < 0:
		return unix.ENOENT
	case command == newDest:
		s.dests = append(s.dests, d.RealServer)
	case command == setDest:
		s.dests[i] = d.RealServer
	default:
		s.dests = slices.Delete(s.dests, i, i+1)
	}
	return 0
}

// dump prints what the fake holds.
func (k *fakeKernel) dump() string {
	var pools []dataplane.Pool
	for _, s := range k.sorted() {
		pools = append(pools, dataplane.Pool{VirtualServer: s.VirtualServer, RealServers: s.dests})
	}
	return dataplane.Objects{Pools: pools}.Dump()
}
