package health

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// claimant is a Service that wants a health check answered.
type claimant struct {
	source  string
	service service.Name
}

// claim is what a Service wants of one socket.
type claim struct {
	claimant
	created time.Time
	count   int // of ready endpoints on this node
}

// compare orders claims by precedence, as those to virtual servers are: the older Service counts, then the name.
func (c claim) compare(o claim) int {
	return cmp.Or(c.created.Compare(o.created), cmp.Compare(c.source, o.source),
		cmp.Compare(c.service.String(), o.service.String()))
}

// claims knows which Services want which sockets.
type claims struct {
	byService map[claimant]reconcile.HealthCheck
	bySocket  map[netip.AddrPort][]claim // by precedence, never empty: the first one is answered for
}

func newClaims() claims {
	return claims{make(map[claimant]reconcile.HealthCheck), make(map[netip.AddrPort][]claim)}
}

// set makes the check all that its Service wants, and returns the sockets that other Services want now than before. A
// Service made anew is another one; a change of numbers only is none.
func (c claims) set(check reconcile.HealthCheck) []netip.AddrPort {
	who := claimant{check.Source, check.Service}
	before := c.byService[who]
	same := before.Same(check)
	var changed []netip.AddrPort
	for socket := range before.Sockets {
		if _, stays := check.Sockets[socket]; !stays || !same {
			changed = append(changed, socket)
		}
		c.release(socket, who)
	}
	for socket, count := range check.Sockets {
		if _, was := before.Sockets[socket]; !was {
			changed = append(changed, socket)
		}
		c.add(socket, claim{who, check.Created, count})
	}
	c.byService[who] = check
	if len(check.Sockets) == 0 {
		delete(c.byService, who)
	}
	return changed
}

func (c claims) release(socket netip.AddrPort, who claimant) {
	left := slices.DeleteFunc(c.bySocket[socket], func(other claim) bool { return other.claimant == who })
	c.bySocket[socket] = left
	if len(left) == 0 {
		delete(c.bySocket, socket)
	}
}

func (c claims) add(socket netip.AddrPort, new claim) {
	all := append(c.bySocket[socket], new)
	slices.SortFunc(all, claim.compare)
	c.bySocket[socket] = all
}

// winner returns the claim that a socket answers for.
func (c claims) winner(socket netip.AddrPort) (claim, bool) {
	if all := c.bySocket[socket]; len(all) > 0 {
		return all[0], true
	}
	return claim{}, false
}

// sockets returns what a Service wants, sorted.
func (c claims) sockets(who claimant) []netip.AddrPort {
	var out []netip.AddrPort
	for socket := range c.byService[who].Sockets {
		out = append(out, socket)
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}
