package reconcile

import (
	"maps"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// reports are what rounds tell observers besides their operations.
type reports struct {
	checks   healthChecks
	noLocal  noLocal
	draining int // real servers, when connections were last counted
}

func newReports() reports { return reports{checks: newHealthChecks(), noLocal: newNoLocal()} }

// NoLocal is a way in which a Service has no endpoint here: clients of its policy Local find none on this node in the
// family, though there are some elsewhere.
type NoLocal struct {
	Family   dataplane.Family
	External bool // externalTrafficPolicy, rather than internalTrafficPolicy
}

// noLocal knows which Services have no endpoint here.
type noLocal struct {
	byOwner map[string][]NoLocal // those that have none only
	counts  map[NoLocal]int      // Services
}

func newNoLocal() noLocal {
	return noLocal{byOwner: make(map[string][]NoLocal), counts: make(map[NoLocal]int)}
}

// set takes note of where a Service has no endpoint now.
func (n *noLocal) set(owner string, now []NoLocal) {
	before := n.byOwner[owner]
	if slices.Equal(before, now) {
		return
	}
	for _, way := range before {
		n.counts[way]--
	}
	for _, way := range now {
		n.counts[way]++
	}
	if delete(n.byOwner, owner); len(now) > 0 {
		n.byOwner[owner] = now
	}
}

// count returns how many Services have no endpoint in each way.
func (n *noLocal) count() map[NoLocal]int { return maps.Clone(n.counts) }

// noLocalOf says in which ways a delivered Service has no endpoint here.
func (r *Reconciler) noLocalOf(dirty dirtyView) []NoLocal {
	if !dirty.exists || !dirty.view.Policy.InternalLocal && !dirty.view.Policy.ExternalLocal {
		return nil
	}
	var ways []NoLocal
	facts := r.loop.facts
	for _, family := range r.options.Families {
		facts.Families = []dataplane.Family{family}
		internal, external := service.NoLocal(dirty.view, facts)
		if internal {
			ways = append(ways, NoLocal{Family: family})
		}
		if external {
			ways = append(ways, NoLocal{Family: family, External: true})
		}
	}
	return ways
}
