package admin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/packet"
)

// hook is a built-in chain of a table.
type hook struct {
	table dataplane.Table
	chain string
}

// journey is the way of a connection's first packet through the node.
type journey struct {
	filter filter
	packet packet.Packet
	hits   []Hit
	end    dataplane.Action // that ended it; nil as long as none has
	err    error            // the first
}

// through passes hooks in order, unless one ends the way.
func (j *journey) through(hooks ...hook) {
	for _, h := range hooks {
		if j.end != nil || j.err != nil {
			return
		}
		hits, end, err := j.filter.pass(h.table, h.chain, &j.packet)
		j.err = err
		j.hits = append(j.hits, hits...)
		switch end.(type) {
		case dataplane.Drop, dataplane.Reject:
			j.end = end
		}
	}
}

// follow says what becomes of a client's new connections. IPVS takes them in LOCAL_IN behind INPUT or, those of the node
// itself, in LOCAL_OUT: behind OUTPUT of mangle and nat and before that of filter.
func (e explainer) follow(c client, s *served) (Outcome, error) {
	q := e.question
	j := journey{filter: e.filter, packet: packet.Packet{Protocol: q.Protocol, From: c.from, To: q.To.Addr(), Port: q.To.Port(),
		Input: c.input, State: "NEW"}}
	out := Outcome{Client: c.name, From: c.from, Verdict: VerdictNode}
	var pool dataplane.Pool
	var taken bool
	toHere := e.filter.Local(q.To.Addr())
	switch {
	case c.local:
		j.through(hook{dataplane.Mangle, "OUTPUT"}, hook{dataplane.NAT, "OUTPUT"})
		if pool, taken = e.poolFor(j.packet); !taken || j.end != nil {
			j.through(hook{dataplane.Filter, "OUTPUT"})
			if toHere { // by way of the loopback interface
				j.through(hook{dataplane.Mangle, "INPUT"}, hook{dataplane.Filter, "INPUT"})
			}
		}
	case toHere:
		j.through(hook{dataplane.NAT, "PREROUTING"}, hook{dataplane.Mangle, "INPUT"}, hook{dataplane.Filter, "INPUT"})
		pool, taken = e.poolFor(j.packet)
	default:
		j.through(hook{dataplane.NAT, "PREROUTING"}, hook{dataplane.Filter, "FORWARD"})
	}
	switch {
	case j.end != nil:
		out.Verdict, out.Because = refusal(j)
	case taken:
		out.Verdict = VerdictServed
		e.describe(pool, c, &j, &out)
	case !toHere:
		out.Verdict, out.Because = VerdictElsewhere, "the address is not bound on this node, so that packets of others are forwarded as routes say"
	default:
		out.Because = "there is no virtual server for it in IPVS"
	}
	if s != nil {
		out.Endpoints = e.endpoints(s, out.Verdict == VerdictServed && pool.Key.Mark != 0)
		keepChosen(&out, pool)
	}
	out.Rules = j.hits
	return out, j.err
}

// poolFor returns the virtual server that IPVS has for a packet: one with its mark comes first. Those without real servers
// are not in the kernel.
func (e explainer) poolFor(p packet.Packet) (dataplane.Pool, bool) {
	keys := []dataplane.VirtualServerKey{dataplane.KeyOf(p.Protocol, p.To, p.Port)}
	if p.Mark != 0 {
		keys = append([]dataplane.VirtualServerKey{dataplane.MarkKeyOf(dataplane.FamilyOf(p.To), p.Mark)}, keys...)
	}
	for _, key := range keys {
		at := slices.IndexFunc(e.View.Objects.Pools, func(pool dataplane.Pool) bool { return pool.Key == key && len(pool.RealServers) > 0 })
		if at >= 0 {
			return e.View.Objects.Pools[at], true
		}
	}
	return dataplane.Pool{}, false
}

// describe says which virtual server serves a client, and with which address as its source.
func (e explainer) describe(pool dataplane.Pool, c client, j *journey, out *Outcome) {
	out.VirtualServer = append(out.VirtualServer, pool.VirtualServer.String())
	target, itself := pool.RealServers[0].Addr, netip.AddrPort{}
	for _, real := range pool.RealServers {
		out.VirtualServer = append(out.VirtualServer, dataplane.Member{VirtualServer: pool.Key, RealServer: real}.String())
		if real.Addr.Addr() == c.from {
			itself = real.Addr
		} else {
			target = real.Addr
		}
	}
	for _, member := range e.View.Draining {
		if member.VirtualServer == pool.Key {
			out.Draining = append(out.Draining, member.Addr)
		}
	}
	marker := lastMarker(j.hits)
	var hits []Hit
	hits, out.Masqueraded = j.leave(target)
	switch {
	case out.Masqueraded && marker != nil:
		out.Source = by(*marker, nil)
	case out.Masqueraded:
		out.Source = by(hits[len(hits)-1], nil)
	case itself.IsValid():
		if found, masqueraded := j.leave(itself); masqueraded {
			out.Source = "except from what comes back to itself: " + by(found[len(found)-1], nil)
		}
	}
	j.hits = append(j.hits, hits...)
}

// leave has IPVS send the packet to an endpoint, and returns the rules it then meets and whether it is masqueraded.
func (j *journey) leave(to netip.AddrPort) ([]Hit, bool) {
	p := j.packet
	p.To, p.Port = to.Addr(), to.Port()
	hits, end, err := j.filter.pass(dataplane.NAT, "POSTROUTING", &p)
	if j.err == nil {
		j.err = err
	}
	_, masqueraded := end.(dataplane.SNATToNode)
	return hits, masqueraded
}

// lastMarker returns the rule that gave the packet its mark: the one that sent it to the chain that does, or that took it
// from a set. Nil if none did.
func lastMarker(hits []Hit) *Hit {
	for i, hit := range slices.Backward(hits) {
		switch hit.action.(type) {
		case dataplane.SetMarkFrom:
			return &hits[i]
		case dataplane.SetMark:
			return &hits[max(i-1, 0)]
		}
	}
	return nil
}

// refusal says which rule ended a packet's way, and how.
func refusal(j journey) (Verdict, string) {
	verdict, last := VerdictDropped, j.hits[len(j.hits)-1]
	if _, answered := j.end.(dataplane.Reject); answered {
		verdict = VerdictRefused
	}
	return verdict, last.Does + ": " + by(last, j.hits)
}

// by names a rule and the entries by which it, or one that led to it, found the packet.
func by(hit Hit, before []Hit) string {
	entries := hit.Entries
	for _, earlier := range slices.Backward(before) {
		if _, leads := earlier.action.(dataplane.GoTo); len(entries) == 0 && leads {
			entries = earlier.Entries
		}
	}
	text := fmt.Sprintf("rule %q in %s of table %s", hit.Comment, hit.Chain, hit.Table)
	if len(entries) > 0 {
		text += ", by the entry " + strings.Join(entries, " and ")
	}
	return text
}

// endpoints says of each endpoint whether a client gets it. Marked clients are those inside the cluster, for whom
// externalTrafficPolicy Local does not hold.
func (e explainer) endpoints(s *served, marked bool) []Candidate {
	policy := s.view.Policy
	local := policy.ExternalLocal && !marked
	if s.is(kindCluster) {
		local = policy.InternalLocal
	}
	return choice{e.question.family(), policy, local, e.View.Basis.Facts.Node}.candidates(s.view.Endpoints(s.port))
}

// keepChosen takes the choice from those endpoints that the client does not get after all: because it is turned away, or
// because the Service has changed since what is wanted was last worked out.
func keepChosen(out *Outcome, pool dataplane.Pool) {
	for i, candidate := range out.Endpoints {
		wanted := out.Verdict == VerdictServed && slices.ContainsFunc(pool.RealServers, func(r dataplane.RealServer) bool { return r.Addr == candidate.Address })
		switch {
		case candidate.Chosen == wanted:
		case wanted:
			out.Endpoints[i].Chosen, out.Endpoints[i].Because = true, "for now; it is changing"
		case out.Verdict == VerdictServed:
			out.Endpoints[i].Chosen, out.Endpoints[i].Because = false, "changing just now"
		default:
			out.Endpoints[i].Chosen, out.Endpoints[i].Because = false, "good, but not for this client"
		}
	}
}
