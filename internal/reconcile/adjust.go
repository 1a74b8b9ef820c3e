package reconcile

import (
	"context"
	"fmt"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// Adjustment is what of the Options can be changed while a Reconciler runs. All of it counts, the zero values too.
type Adjustment struct {
	Scheduler     string // of virtual servers; one that the kernel has
	MasqueradeAll bool
	NodePorts     service.NodePortAddresses
	AuditPeriod   time.Duration
	MinPeriod     time.Duration
	Ours          func(dataplane.VirtualServerKey) bool
}

// Adjust has the Reconciler work with other options from the next round on. It waits until that is known, not until it is
// carried out, or until the context ends. It may be called from any goroutine.
func (r *Reconciler) Adjust(ctx context.Context, to Adjustment) error {
	select {
	case r.calls.adjust <- to:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("change the reconciler's options: %w", ctx.Err())
	}
}

// adjust takes over other options, between two rounds. What they mean for each Service and for the rules is worked out
// anew, rather than what changed by them: the ledger tells the two states apart.
func (r *Reconciler) adjust(to Adjustment) {
	now, o, status := r.options.Clock.Now(), &r.options, &r.loop.status
	services := o.Service.Scheduler != to.Scheduler || o.Service.Masquerade.All != to.MasqueradeAll || o.NodePorts.String() != to.NodePorts.String()
	o.Service.Scheduler, o.Service.Masquerade.All, o.NodePorts = to.Scheduler, to.MasqueradeAll, to.NodePorts
	o.Audits.Period, o.MinPeriod, o.Ours = to.AuditPeriod, to.MinPeriod, to.Ours
	if next := now.Add(to.AuditPeriod); status.audit.After(next) {
		status.audit = next
	}
	status.foundation.request(now) // the rules say who is masqueraded
	status.snapshot.request(now)   // what is ours may be more than it was
	if services && status.located {
		r.factsChanged() // else the first reading of the node's addresses has everything translated
	}
	r.observer.Queued(now)
}

// isOurs asks the present options, for the planner, which keeps the function.
func (r *Reconciler) isOurs(key dataplane.VirtualServerKey) bool { return r.options.Ours(key) }
