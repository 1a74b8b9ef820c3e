package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/service"
)

// conflicts know what is to be said, and was said, of Services that want the same virtual server.
type conflicts struct {
	// contenders are the owners of virtual servers that several Services want, or wanted, and whose owners changed.
	contenders map[string]struct{}
	// losers are the owners that are known to have lost something.
	losers map[string]struct{}
}

func newConflicts() conflicts {
	return conflicts{contenders: make(map[string]struct{}), losers: make(map[string]struct{})}
}

// nodeOwner is the owner of what the node itself needs, whatever Services there are.
const nodeOwner = "node"

// ownerName names what a source's Service owns in the ledger.
func ownerName(source string, name service.Name) string { return source + ":" + name.String() }

// ownedBy is the reverse of ownerName.
func ownedBy(owner string) (source string, name service.Name) {
	source, rest, _ := strings.Cut(owner, ":")
	name.Namespace, name.Name, _ = strings.Cut(rest, "/")
	return source, name
}

// replace makes objects everything that the owner wants, and takes note of the Services that are in its way or had it in
// theirs: one that does not get a virtual server is not served there, and nothing else would say so.
func (r *Reconciler) replace(owner ledger.Owner, objects dataplane.Objects, changes dataplane.Keys) {
	r.contend(r.loop.ledger.Pools(owner.Name))
	r.loop.ledger.Replace(owner, objects, changes)
	r.contend(objects.Pools)
}

// contend takes note of the owners of those virtual servers that several want.
func (r *Reconciler) contend(pools []dataplane.Pool) {
	for _, pool := range pools {
		if !r.loop.ledger.Contested(pool.Key) {
			continue
		}
		for _, owner := range r.loop.ledger.Owners(pool.Key) {
			r.loop.conflicts.contenders[owner.Name] = struct{}{}
			r.reports.checks.open[owner.Name] = struct{}{}
		}
	}
}

// reportConflicts says of every Service whose conflicts may have changed what it wants in vain, or that there is nothing
// left.
func (r *Reconciler) reportConflicts() {
	r.settleChecks()
	contenders := r.loop.conflicts.contenders
	if len(contenders) == 0 {
		return
	}
	r.loop.conflicts.contenders = make(map[string]struct{})
	for owner := range contenders {
		lost := r.loop.ledger.Lost(owner)
		_, before := r.loop.conflicts.losers[owner]
		if len(lost) == 0 && !before {
			continue
		}
		delete(r.loop.conflicts.losers, owner)
		if len(lost) > 0 {
			r.loop.conflicts.losers[owner] = struct{}{}
		}
		source, name := ownedBy(owner)
		// Apart from what is reported of the Service otherwise: a report takes the place of the one before.
		r.observer.Problems("conflicts of Service "+name.String()+" of source "+source, r.lostProblems(owner, lost))
	}
}

// lostProblems describes the losses of one owner in the terms of its Service.
func (r *Reconciler) lostProblems(owner string, lost []ledger.Loss) []service.Problem {
	source, name := ownedBy(owner)
	loser, _ := r.inbox.service(source, name)
	var problems []service.Problem
	for _, loss := range lost {
		winnerSource, winnerName := ownedBy(loss.Winner.Name)
		winner, _ := r.inbox.service(winnerSource, winnerName)
		rival := "Service " + winnerName.String()
		if winnerSource != source {
			rival += " of source " + winnerSource
		}
		problem := lostProblem(loss, loser, winner)
		problem.Object, problem.UID, problem.Rival = "Service "+name.String(), loser.UID, rival
		problem.Reason = rival + problem.Reason
		// A NodePort is lost at each address of the node, which is told once.
		if !slices.Contains(problems, problem) {
			problems = append(problems, problem)
		}
	}
	return problems
}

// lostProblem says by which of its fields the loser wants the virtual server, and what of the winner's is in its way. The
// sentence lacks its subject, the winner.
func lostProblem(loss ledger.Loss, loser, winner service.Service) service.Problem {
	key := loss.Key
	field, its := wantedBy(loser, key), wantedBy(winner, key)
	what, value, lost := "address or port", netip.AddrPortFrom(key.Addr, key.Port).String(), "this Service is not served there"
	if isNodePort(field) && isNodePort(its) {
		what, value = "nodePort", fmt.Sprint(key.Port)
	}
	if field == healthCheckField || its == healthCheckField {
		what = "port"
	}
	if loss.Reserved {
		field, lost = healthCheckField, "load balancers are not answered for this Service"
	}
	because := "being older"
	if winner.Created.Equal(loser.Created) {
		because = "being as old and the first by name"
	}
	return service.Problem{
		Field:  field,
		Value:  value + "/" + strings.ToUpper(key.Protocol.String()),
		Reason: fmt.Sprintf(" has it (%s), %s, and %s until that one goes; give one of them another %s", its, because, lost, what),
	}
}

const healthCheckField = "spec.healthCheckNodePort"

func isNodePort(field string) bool {
	return strings.HasSuffix(field, ".nodePort") || field == healthCheckField
}

// wantedBy names the field by which a Service wants a virtual server.
func wantedBy(svc service.Service, key dataplane.VirtualServerKey) string {
	byPort := slices.ContainsFunc(svc.Ports, func(p service.Port) bool { return p.Port == key.Port && p.Protocol == key.Protocol })
	switch {
	case byPort && slices.Contains(svc.VIPs.Cluster, key.Addr):
		return "spec.clusterIPs"
	case byPort && slices.Contains(svc.VIPs.External, key.Addr):
		return "spec.externalIPs"
	case byPort && slices.Contains(svc.VIPs.LoadBalancer, key.Addr):
		return "status.loadBalancer.ingress"
	}
	for i, port := range svc.Ports {
		if port.NodePort == key.Port && port.Protocol == key.Protocol {
			return fmt.Sprintf("spec.ports[%d].nodePort", i)
		}
	}
	if svc.Policy.HealthCheckNodePort == key.Port && key.Protocol == dataplane.TCP {
		return healthCheckField
	}
	return "spec.ports" // it has just changed; a report of the new state is under way
}
