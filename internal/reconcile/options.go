package reconcile

import (
	"net/netip"
	"time"

	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// Options are fixed for the life of a Reconciler, except for what Adjust changes.
type Options struct {
	Families []dataplane.Family
	// Service shapes what Services become; NodePorts selects the addresses that NodePorts are served on.
	Service   service.Options
	NodePorts service.NodePortAddresses
	// NodeName is the name of the own Node; Bind the node's IP if it was set (bindAddress), else zero.
	NodeName string
	Bind     netip.Addr
	Audits   Audits
	// MinPeriod is the least time between the starts of two rounds; 0 for none.
	MinPeriod time.Duration
	// DrainTimeout bounds how long a real server drains that no slice lists any more.
	DrainTimeout time.Duration
	// Ours says whether a virtual server found in the kernel may be deleted when nothing wants it.
	Ours  func(dataplane.VirtualServerKey) bool
	Clock clock.Clock
}

// Audits says how often the whole kernel is compared with the whole desired state.
type Audits struct {
	Period time.Duration // from the end of one to the beginning of the next
	// CPUTime returns how much the process has used so far. An audit is followed by a rest of auditRest times what it used,
	// if that is longer than the period, but of no more than auditPeriods of these. If it is nil, audits may use what they
	// like.
	CPUTime func() time.Duration
}

// An audit of 10,000 Services takes a tenth of a second on a usual processor: such a node does not notice the rest.
const (
	auditRest    = 200
	auditPeriods = 10
)

// used returns the CPU time used so far, as far as that matters.
func (a Audits) used() time.Duration {
	if a.CPUTime == nil {
		return 0
	}
	return a.CPUTime()
}

// after returns the time from an audit that used so much until the next one.
func (a Audits) after(used time.Duration) time.Duration {
	return max(a.Period, min(auditRest*used, auditPeriods*a.Period))
}

// drainPeriod is how often the connections of draining real servers are counted. When very many drain at once and that
// takes long, there is a rest of drainRest times as long in between, for changes.
const (
	drainPeriod = time.Second
	drainRest   = 9
)

// Backoff of operations and steps that failed: doubled with each failure in a row.
const (
	backoffFirst = 50 * time.Millisecond
	backoffMost  = time.Minute
)

// backoff returns how long to wait after the given number of failures in a row, at least one.
func backoff(failures int) time.Duration {
	return min(backoffFirst<<min(failures-1, 20), backoffMost)
}
