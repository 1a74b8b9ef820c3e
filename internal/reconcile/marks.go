package reconcile

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/service"
	"kube-ipvs-proxy/internal/translate"
)

// marks hands out the packet marks of firewall-mark virtual servers. A port of a Service keeps its mark as long as it asks
// for it. Which one it gets follows from its name, where that is free; after a restart it is the one that the sets in
// the kernel have for it, so that nothing has to change there.
type marks struct {
	allowed    service.MarkRange
	masquerade uint32
	held       map[string][]holding // by owner
	taken      map[uint32]struct{}  // held by some owner
	foreign    map[uint32]struct{}  // of virtual servers that somebody else has
	// inKernel reports whether something of ours in the kernel still has the mark: whoever gets it next would get its packets.
	inKernel func(uint32) bool
	// inherited are the marks that the kernel had at the start.
	inherited map[dataplane.VirtualServerKey]uint32
	// starved are the owners of ports that found no mark free.
	starved map[string]ledger.Owner
}

// holding is a port, as it last asked, and its mark.
type holding struct {
	port service.Port
	mark uint32
}

// portID is a port among those of one owner, at one time.
type portID struct {
	protocol dataplane.Protocol
	number   uint16
}

func newMarks(options service.Options, inKernel func(uint32) bool) *marks {
	m := &marks{allowed: options.Marks, masquerade: options.Masquerade.Bit(), inKernel: inKernel,
		held: make(map[string][]holding), taken: make(map[uint32]struct{}), foreign: make(map[uint32]struct{}),
		inherited: make(map[dataplane.VirtualServerKey]uint32), starved: make(map[string]ledger.Owner)}
	if m.allowed == (service.MarkRange{}) {
		m.allowed = service.DefaultMarks()
	}
	return m
}

// inherit takes note of the marks in the proxy's own sets at the start.
func (m *marks) inherit(entries []dataplane.Entry) {
	for _, entry := range entries {
		if entry.Mark != 0 {
			m.inherited[dataplane.KeyOf(entry.Protocol, entry.Addr, entry.Port)] = entry.Mark &^ m.masquerade
		}
	}
}

// avoid takes note of the virtual servers that somebody else has: their marks are not handed out. It returns the owners
// that hold such a mark, and get another when they ask again.
func (m *marks) avoid(foreign []dataplane.VirtualServerKey) (disturbed []string) {
	clear(m.foreign)
	collides := false
	for _, key := range foreign {
		mark := key.Mark &^ m.masquerade
		m.foreign[mark] = struct{}{}
		_, taken := m.taken[mark]
		collides = collides || taken
	}
	if !collides {
		return nil
	}
	for owner, held := range m.held {
		if slices.ContainsFunc(held, func(h holding) bool { return m.isForeign(h.mark) }) {
			disturbed = append(disturbed, owner)
		}
	}
	return disturbed
}

func (m *marks) isForeign(mark uint32) bool {
	_, foreign := m.foreign[mark]
	return foreign
}

// lease returns the function that gives marks to the owner's ports, of which there are these. When all that need one have
// asked, done takes back the marks of others.
func (m *marks) lease(owner ledger.Owner, ports []service.Port) (markOf translate.MarkOf, done func()) {
	before := m.held[owner.Name]
	kept, given := keep(before, ports), make(map[portID]uint32)
	var now []holding
	starved := false
	markOf = func(port service.Port, targets []dataplane.VirtualServerKey) uint32 {
		id := idOf(port)
		if mark, asked := given[id]; asked {
			return mark // for the other family
		}
		mark, held := kept[id]
		if !held || m.isForeign(mark) {
			mark = m.choose(owner.Name, id, targets)
		}
		if given[id] = mark; mark == 0 {
			starved = true
			return 0
		}
		m.taken[mark] = struct{}{}
		now = append(now, holding{port, mark})
		return mark
	}
	return markOf, func() {
		for _, old := range before {
			if !slices.ContainsFunc(now, func(h holding) bool { return h.mark == old.mark }) {
				delete(m.taken, old.mark)
			}
		}
		if m.held[owner.Name] = now; len(now) == 0 {
			delete(m.held, owner.Name)
		}
		if delete(m.starved, owner.Name); starved {
			m.starved[owner.Name] = owner
		}
	}
}

func idOf(port service.Port) portID { return portID{port.Protocol, port.Port} }

// keep says which of the marks held so far each port goes on with: that of the port which it was. Connections by way of
// what has stayed of it live on. A port is known by its name, else by its NodePort, else by its number; each of the old
// ones can be one of the new.
func keep(held []holding, ports []service.Port) map[portID]uint32 {
	kept, left := make(map[portID]uint32), slices.Clone(held)
	for _, same := range []func(a, b service.Port) bool{
		func(a, b service.Port) bool { return a.Name == b.Name && a.Name != "" },
		func(a, b service.Port) bool { return a.NodePort == b.NodePort && a.NodePort != 0 },
		func(a, b service.Port) bool { return a.Port == b.Port },
	} {
		for _, port := range ports {
			if _, found := kept[idOf(port)]; found {
				continue
			}
			i := slices.IndexFunc(left, func(h holding) bool { return h.port.Protocol == port.Protocol && same(h.port, port) })
			if i >= 0 {
				kept[idOf(port)] = left[i].mark
				left = slices.Delete(left, i, i+1)
			}
		}
	}
	return kept
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
		if mark := m.allowed.First + uint32((start+i)%size); m.isFree(mark) {
			return mark
		}
	}
	return 0
}

// isFree reports whether the mark can be given to anybody.
func (m *marks) isFree(mark uint32) bool {
	return m.fits(mark) && !m.inKernel(mark) && !m.inKernel(mark|m.masquerade)
}

// fits reports whether the mark may be handed out and nobody holds it.
func (m *marks) fits(mark uint32) bool {
	_, taken := m.taken[mark]
	return !taken && !m.isForeign(mark) && m.allowed.Contains(mark) && mark&m.masquerade == 0
}

// fed returns those of the starved owners, the oldest first, for whom there is a mark now. It costs nothing as long as
// nobody starves, and one look at the range of marks otherwise.
func (m *marks) fed() []string {
	if len(m.starved) == 0 {
		return nil
	}
	free := 0
	for mark := uint64(m.allowed.First); mark <= uint64(m.allowed.Last) && free < len(m.starved); mark++ {
		if m.isFree(uint32(mark)) {
			free++
		}
	}
	var owners []string
	for _, owner := range slices.SortedFunc(maps.Values(m.starved), ledger.Owner.Compare)[:free] {
		owners = append(owners, owner.Name)
	}
	return owners
}
