package conntrack

import (
	"fmt"
	"net/netip"

	"kube-ipvs-proxy/internal/dataplane"
)

// matcher finds the flows that an entry belongs to: by where the client sent to, and who answers.
type matcher map[flow][]int

// flow is what identifies flows in an entry.
type flow struct {
	protocol      dataplane.Protocol
	virtual, real netip.AddrPort
}

// newMatcher indexes flows by what identifies them; the values are the given positions.
func newMatcher(flows []dataplane.Flows, positions []int) matcher {
	m := matcher{}
	for _, at := range positions {
		f := flows[at]
		key := flow{f.VirtualServer.Protocol, netip.AddrPortFrom(f.VirtualServer.Addr, f.VirtualServer.Port), f.RealServer}
		m[key] = append(m[key], at)
	}
	return m
}

// match returns the positions of the flows that the entry belongs to. The source of the reply is the real server; the
// client's side does not matter.
func (m matcher) match(e entry) []int {
	return m[flow{e.original.protocol, e.original.to, e.reply.from}]
}

// protocol returns the one protocol of all flows, or 0 when there are several.
func (m matcher) protocol() dataplane.Protocol {
	var one dataplane.Protocol
	for key := range m {
		if one != 0 && key.protocol != one {
			return 0
		}
		one = key.protocol
	}
	return one
}

// validate refuses flows that are not this package's business.
func validate(f dataplane.Flows) error {
	switch key := f.VirtualServer; {
	case key.Protocol != dataplane.UDP && key.Protocol != dataplane.SCTP:
		return fmt.Errorf("%w: only UDP and SCTP flows are deleted", dataplane.ErrInvalid)
	case key.Mark != 0 || !key.Addr.IsValid():
		return fmt.Errorf("%w: a firewall mark does not identify flows", dataplane.ErrInvalid)
	case !f.RealServer.IsValid() || dataplane.FamilyOf(f.RealServer.Addr()) != dataplane.FamilyOf(key.Addr):
		return fmt.Errorf("%w: no real server of the virtual server's family", dataplane.ErrInvalid)
	}
	return nil
}
