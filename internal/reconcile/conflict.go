package reconcile

import (
	"fmt"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/service"
)

// replace makes objects everything that the owner wants, and reports virtual servers that others want as well: the Service
// that does not get one is not served there, and nothing else would say so.
func (r *Reconciler) replace(owner ledger.Owner, objects dataplane.Objects, changes dataplane.Keys) {
	before := r.loop.ledger.Pools(owner.Name)
	r.loop.ledger.Replace(owner, objects, changes)
	for _, pool := range before {
		r.reportConflict(pool.Key)
	}
	for _, pool := range objects.Pools {
		r.reportConflict(pool.Key)
	}
}

// reportConflict reports who wants a virtual server in vain, or that nobody does any more.
func (r *Reconciler) reportConflict(key dataplane.VirtualServerKey) {
	contested := r.loop.contested
	if !r.loop.ledger.Contested(key) {
		if _, before := contested[key]; before {
			delete(contested, key)
			r.observer.Problems("virtual server "+key.String(), nil)
		}
		return
	}
	contested[key] = struct{}{}
	owners := r.loop.ledger.Owners(key)
	var losers []string
	for _, loser := range owners[1:] {
		losers = append(losers, loser.Name)
	}
	r.observer.Problems("virtual server "+key.String(), []service.Problem{{
		Object: "virtual server " + key.String(),
		Reason: fmt.Sprintf("%s has it, and %s not: the older Service counts, then the name; give the other another address or port",
			owners[0].Name, strings.Join(losers, ", ")),
	}})
}
