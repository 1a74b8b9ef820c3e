package reconcile

import (
	"context"
	"fmt"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/service"
)

// Server is a virtual server that is wanted for a port of a Service.
type Server struct {
	Key   dataplane.VirtualServerKey
	Owner Owner
}

// Servers returns the virtual servers that are wanted for Services, in no particular order: of a View the part that is cheap.
// Those of a port that its Service has not got any more, because the next round is to remove them, are left out. It waits
// for the end of a round, until the context ends.
func (r *Reconciler) Servers(ctx context.Context) ([]Server, error) {
	answer := make(chan ledger.Owned, 1)
	select {
	case r.calls.servers <- answer:
	case <-ctx.Done():
		return nil, fmt.Errorf("ask the reconciler for its virtual servers: %w; a round is under way, or it has not begun: try again", ctx.Err())
	}
	taken := <-answer // at once: it was asked
	owners := r.owners(taken.PoolOwners)
	r.inbox.namePorts(taken.Pools, owners)
	servers := make([]Server, 0, len(owners))
	for i, owner := range owners {
		if r.inbox.hasPort(owner) {
			servers = append(servers, Server{taken.Pools[i].Key, owner})
		}
	}
	return servers, nil
}

// hasPort reports whether there is a port of the owner's name.
func (b *inbox) hasPort(owner Owner) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sources {
		if s.name == owner.Source {
			view, exists := s.catalog.View(owner.Service)
			return exists && slices.ContainsFunc(view.Ports, func(p service.Port) bool { return p.Name == owner.Port })
		}
	}
	return false
}
