package reconcile

import (
	"context"
	"fmt"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/service"
)

// Pools returns of a View the pools that the caller chooses, with their owners, and nothing else. The function gets all of
// them, whose owners' ports have no names yet, and returns indices, in the order in which they are wanted. What it costs
// beside that is a look at each pool. It waits for the end of a round, until the context ends.
func (r *Reconciler) Pools(ctx context.Context, choose func([]dataplane.Pool, []Owner) []int) (View, error) {
	answer := make(chan ledger.Owned, 1)
	select {
	case r.calls.servers <- answer:
	case <-ctx.Done():
		return View{}, fmt.Errorf("ask the reconciler for its virtual servers: %w; a round is under way, or it has not begun: try again", ctx.Err())
	}
	taken := <-answer // at once: it was asked
	owners := r.owners(taken.PoolOwners)
	var view View
	for _, i := range choose(taken.Pools, owners) {
		view.Objects.Pools = append(view.Objects.Pools, taken.Pools[i])
		view.Owners.Pools = append(view.Owners.Pools, owners[i])
	}
	r.inbox.namePorts(view.Objects.Pools, view.Owners.Pools)
	return view, nil
}

// Named returns those of the named Services that complete sources have delivered: of Services the part that is cheap.
func (r *Reconciler) Named(names []service.Name) []Delivered {
	r.inbox.mu.Lock()
	defer r.inbox.mu.Unlock()
	var found []Delivered
	for _, s := range r.inbox.sources {
		if len(s.awaited) > 0 {
			continue
		}
		for _, name := range names {
			if view, exists := s.catalog.View(name); exists {
				found = append(found, Delivered{s.name, view})
			}
		}
	}
	return found
}
