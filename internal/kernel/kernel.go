package kernel

import (
	"context"
	"net/netip"

	"kube-ipvs-proxy/internal/dataplane"
)

// Kernel is what the reconciler needs of the kernel. Errors wrap those of package dataplane (ErrNotExist and so on) with
// the object and the errno. The methods are called one at a time, not always from the same goroutine, except that
// EnsureFoundation and Snapshot, one at a time, may run beside the others: these two take long, and changes need not wait
// for them.
type Kernel interface {
	// EnsureFoundation makes the device, the sets and the rules exist as described, sets before the rules that use
	// them, and returns a line for each thing that was missing or wrong and had to be repaired (creation at first start
	// included). It is idempotent. It is the only method that may execute a process. One part that fails does not keep the
	// others from being made: of the rules, those are left out that need a set that is certainly not there (see
	// dataplane.Ruleset.Without), until it is.
	EnsureFoundation(context.Context, Foundation) (repaired []string, err error)
	// Spared reports whether the last EnsureFoundation, which was told to Spare rules of others, has left any that Succeed
	// is to deal with.
	Spared() bool

	// Snapshot reads everything that is ours: all virtual servers (those of others included: the caller decides, see
	// Snapshot), the addresses of the device, the entries of the foundation's sets. On any error it returns no snapshot
	// at all: a failed read is not an empty world. What EnsureFoundation could not make, or found something else in place
	// of, and reported, is known to hold nothing of ours, and reads as empty. Of an object that is changed meanwhile, it holds the state
	// before or after.
	Snapshot(context.Context) (*Snapshot, error)

	// Apply carries out the operations in order and returns one result for each, nil for success. One failing operation
	// does not keep the others from being tried. When the context ends, the rest fails with its error.
	Apply(context.Context, []dataplane.Operation) []error

	// Connections returns the active plus inactive connections of each real server of the given virtual servers. A
	// virtual server that does not exist is left out.
	Connections(context.Context, []dataplane.VirtualServerKey) (map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error)

	// NodeAddresses returns the unicast addresses of all interfaces except the device.
	NodeAddresses(context.Context) ([]dataplane.NodeAddress, error)

	// Subscribe delivers changes that others, or we ourselves, made to addresses and to the device, until the context
	// ends; then the channel is closed. Events may be merged or repeated; Overrun says that some were lost.
	Subscribe(context.Context) (<-chan dataplane.Event, error)

	// Close releases the sockets. Nothing in the kernel changes.
	Close() error
}

// Foundation is the static part of the data plane: it does not depend on how many Services there are.
type Foundation struct {
	Sets     []dataplane.Set
	Rulesets []dataplane.Ruleset // one for each family in use
	Takeover Takeover
}

// Takeover says what becomes of packet-filter rules that stand where ours belong, or send connections elsewhere than to IPVS.
type Takeover uint8

// What can become of them.
const (
	// Replace puts ours into their place.
	Replace Takeover = iota
	// Spare leaves them where they are, until the sets that ours refer to have their entries: another proxy made them, or an
	// earlier release of this one, and they go with the entries that it has put into the sets.
	Spare
	// Succeed is Replace, and then takes away what other modes of kube-proxy have left.
	Succeed
)

// Snapshot is the state of the kernel.
type Snapshot struct {
	dataplane.Objects
	// Connections holds the active plus inactive connections of each real server whose weight is 0.
	Connections map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32
}
