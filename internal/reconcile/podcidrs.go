package reconcile

import (
	"errors"
	"time"

	"kube-ipvs-proxy/internal/service"
)

// podCIDRPatience is how long a Node may be without podCIDRs, which a controller gives it, as in kube-proxy.
const podCIDRPatience = 5 * time.Minute

var errNoPodCIDRs = errors.New("the Node object has no podCIDRs, by which detectLocalMode NodeCIDR tells the pods of this node: " +
	"nothing is programmed for 5 minutes, then nobody is taken for one; let the controller manager allocate them, or choose another mode")

// podCIDRs is the wait for the Node's podCIDRs at the start. Rules written without them would, until they are known, treat
// everybody alike, and take the right ones of the process before away.
type podCIDRs struct {
	settled bool      // they are known, or the wait is over
	since   time.Time // when the sources were complete without them; zero before
}

// awaitPodCIDRs reports for how long to leave the kernel alone; 0 for not any more.
func (r *Reconciler) awaitPodCIDRs() time.Duration {
	p, node := &r.podCIDRs, &r.loop.facts.Node
	if p.settled || !r.options.Service.Masquerade.Local.NodeCIDRs {
		return 0
	}
	told, complete := r.inbox.ownNode()
	if node.PodCIDRs = told.PodCIDRs; len(node.PodCIDRs) > 0 {
		p.settled = true
		return 0
	}
	now := r.options.Clock.Now()
	if !complete {
		return r.options.Audits.Period // whoever completes it wakes the loop
	}
	if p.since.IsZero() {
		p.since = now
		r.observer.StepDone(StepFoundation, errNoPodCIDRs)
	}
	wait := max(p.since.Add(podCIDRPatience).Sub(now), 0)
	p.settled = wait == 0
	return wait
}

// ownNode returns the Node as last delivered, and whether every source is complete.
func (b *inbox) ownNode() (node service.Node, complete bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sources {
		if len(s.awaited) > 0 {
			return b.node, false
		}
	}
	return b.node, true
}
