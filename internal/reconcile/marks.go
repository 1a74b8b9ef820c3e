package reconcile

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
	"kube-ipvs-proxy/internal/translate"
)

// marks hands out the packet marks of firewall-mark virtual servers. A port of a Service keeps its mark as long as it asks
// for it. Which one it gets follows from its name, where that is free; after a restart it is the one that the sets in
// the kernel have for it, so that nothing has to change there.
type marks struct {
	allowed    service.MarkRange
	masquerade uint32
	held       map[string]map[portID]uint32 // by owner
	taken      map[uint32]struct{}
	// inKernel reports whether something in the kernel still has the mark: whoever gets it next would get its packets.
	inKernel func(uint32) bool
	// inherited are the marks that the kernel had at the start.
	inherited map[dataplane.VirtualServerKey]uint32
}

// portID is a port among those of one owner.
type portID struct {
	protocol dataplane.Protocol
	number   uint16
}

func newMarks(options service.Options, inKernel func(uint32) bool) *marks {
	m := &marks{allowed: options.Marks, masquerade: options.Masquerade.Bit(), inKernel: inKernel, held: make(map[string]map[portID]uint32),
		taken: make(map[uint32]struct{}), inherited: make(map[dataplane.VirtualServerKey]uint32)}
	if m.allowed == (service.MarkRange{}) {
		m.allowed = service.DefaultMarks()
	}
	return m
}

// learn takes note of what the kernel had at the start: of the marks in the proxy's sets, and of those that somebody
// else's virtual servers have, which are not handed out.
func (m *marks) learn(found dataplane.Objects, ours dataplane.Keys) {
	for _, entry := range found.Entries {
		if entry.Mark != 0 {
			m.inherited[dataplane.KeyOf(entry.Protocol, entry.Addr, entry.Port)] = entry.Mark &^ m.masquerade
		}
	}
	for _, pool := range found.Pools {
		if _, own := ours.VirtualServers[pool.Key]; pool.Key.Mark != 0 && !own {
			m.taken[pool.Key.Mark&^m.masquerade] = struct{}{}
		}
	}
}

// lease returns the function that gives marks to ports of the owner. When all its ports have been asked for, done takes
// back the marks of others.
func (m *marks) lease(owner string) (markOf translate.MarkOf, done func()) {
	asked := make(map[portID]uint32)
	markOf = func(port service.Port, targets []dataplane.VirtualServerKey) uint32 {
		id := portID{port.Protocol, port.Port}
		mark, held := m.held[owner][id]
		if !held {
			if mark = m.choose(owner, id, targets); mark == 0 {
				return 0
			}
			m.taken[mark] = struct{}{}
			if m.held[owner] == nil {
				m.held[owner] = make(map[portID]uint32)
			}
			m.held[owner][id] = mark
		}
		asked[id] = mark
		return mark
	}
	return markOf, func() {
		for id, mark := range m.held[owner] {
			if _, again := asked[id]; !again {
				delete(m.taken, mark)
			}
		}
		if m.held[owner] = asked; len(asked) == 0 {
			delete(m.held, owner)
		}
	}
}

// choose returns a free mark, 0 if there is none.
func (m *marks) choose(owner string, id portID, targets []dataplane.VirtualServerKey) uint32 {
	for _, target := range targets {
		if mark := m.inherited[target]; m.fits(mark) {
			return mark
		}
	}
	hash := sha256.Sum256(fmt.Append(nil, owner, id))
	size := uint64(m.allowed.Last-m.allowed.First) + 1
	start := binary.BigEndian.Uint64(hash[:]) % size
	for i := range size {
		mark := m.allowed.First + uint32((start+i)%size)
		if m.fits(mark) && !m.inKernel(mark) && !m.inKernel(mark|m.masquerade) {
			return mark
		}
	}
	return 0
}

// fits reports whether the mark may be handed out and nobody holds it.
func (m *marks) fits(mark uint32) bool {
	_, taken := m.taken[mark]
	return !taken && m.allowed.Contains(mark) && mark&m.masquerade == 0
}
