package health

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"syscall"

	"kube-ipvs-proxy/internal/service"
)

// pass opens and closes what is due, and reports what became of it. Troubled are the Services with problems.
func (c *ServiceChecks) pass(s *sockets, troubled map[claimant]struct{}) {
	c.mu.Lock()
	work := c.todo
	c.todo = newTodo()
	c.mu.Unlock()
	for l, err := range work.broken {
		s.lost(l, err)
		work.sockets[l.at] = struct{}{}
	}
	for _, at := range s.due() {
		work.sockets[at] = struct{}{}
	}
	var wanted []netip.AddrPort
	for at := range work.sockets {
		claims := c.claimsTo(at)
		for _, claim := range claims {
			work.services[claim.claimant] = struct{}{}
		}
		if len(claims) > 0 {
			wanted = append(wanted, at)
		} else {
			s.drop(at) // before others are opened: all addresses of a port and one of them exclude each other
		}
	}
	for _, at := range wanted {
		if attempt, failing := s.failing[at]; !failing || !attempt.due.After(c.clock.Now()) {
			s.ensure(at)
		}
	}
	for who := range work.services {
		c.tell(who, s, troubled)
	}
}

func (c *ServiceChecks) claimsTo(at netip.AddrPort) []claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.claims.bySocket[at])
}

// tell reports what is wrong with the health check of a Service, if anything is or was.
func (c *ServiceChecks) tell(who claimant, s *sockets, troubled map[claimant]struct{}) {
	problems := c.problems(who, s)
	_, before := troubled[who]
	if len(problems) == 0 && !before {
		return
	}
	troubled[who] = struct{}{}
	if len(problems) == 0 {
		delete(troubled, who)
	}
	// Apart from what sources and translating find wrong with the Service.
	c.report("healthCheckNodePort of Service "+who.service.String()+" of source "+who.source, problems)
}

// problems returns what keeps the health check of a Service from being answered.
func (c *ServiceChecks) problems(who claimant, s *sockets) []service.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []service.Problem
	for _, at := range c.claims.sockets(who) {
		problem := service.Problem{Object: "Service " + who.service.String(), UID: c.claims.byService[who].UID,
			Field: "spec.healthCheckNodePort", Value: strconv.Itoa(int(at.Port()))}
		attempt, failing := s.failing[at]
		if winner, _ := c.claims.winner(at); winner.claimant != who {
			problem.Rival = winner.nameFor(who)
			problem.Reason = problem.Rival + " has it, being older, or as old and the first by name; load balancers are not answered for this Service until that one goes; give one of them another port"
		} else if failing {
			problem.Reason = fmt.Sprintf("load balancers get no answer: %v; %s. It is tried again until then", attempt.err, remedy(attempt.err, at))
		} else {
			continue
		}
		if !slices.Contains(out, problem) { // both families lose to the same Service
			out = append(out, problem)
		}
	}
	return out
}

// nameFor names a Service to another one.
func (c claimant) nameFor(other claimant) string {
	name := "Service " + c.service.String()
	if c.source != other.source {
		name += " of source " + c.source
	}
	return name
}

// remedy says what to do about a socket that cannot be opened.
func remedy(err error, at netip.AddrPort) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("stop what listens there (ss -ltnp 'sport = :%d' shows it), or give the Service another port", at.Port())
	case errors.Is(err, syscall.EACCES):
		return "give the proxy the capability NET_BIND_SERVICE, or the Service a port above 1023"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "the node does not have the address yet, or not any more: look at ip addr"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "allow the proxy more open files"
	}
	return "remove the cause"
}
