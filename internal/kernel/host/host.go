package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/conntrack"
	"kube-ipvs-proxy/internal/kernel/ipset"
	"kube-ipvs-proxy/internal/kernel/ipvs"
	"kube-ipvs-proxy/internal/kernel/link"
	"kube-ipvs-proxy/internal/kernel/netfilter"
)

var _ kernel.Kernel = (*Host)(nil)

// Options say how the drivers are opened. The zero value is right for production.
type Options struct {
	Netfilter netfilter.Options
	Conntrack []conntrack.Option
	// Warn, when set, is called from within Host's methods with what an operator should know although nothing failed, such
	// as a set that outgrew its capacity.
	Warn func(message string)
}

// Host is the running kernel's network namespace: kernel.Kernel out of the drivers of the subsystems. Those replace a socket
// that broke by themselves (P05). Its threads must all be in the network namespace in which it was opened.
type Host struct {
	ipvs      virtualServers
	link      device
	ipset     sets
	rules     rules
	conntrack flows
	names     []string // sets of the last foundation
	swept     bool     // there are no stand-ins, nor any that an earlier process left behind
	bare      bool     // the device could not be had last time
	spared    bool     // rules of others, last time
	nftables  predecessor
}

// The drivers as Host uses them, so that its tests can stand in for each.
type (
	virtualServers interface {
		applier
		Pools(context.Context) ([]dataplane.Pool, map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error)
		Connections(context.Context, []dataplane.VirtualServerKey) (map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error)
		Order(context.Context) ([]dataplane.VirtualServerKey, error)
		Usage(context.Context, []dataplane.VirtualServerKey, func(dataplane.VirtualServerKey, dataplane.Usage)) error
		UsageOfFew(context.Context, []dataplane.VirtualServerKey, func(dataplane.VirtualServerKey, dataplane.Usage)) error
		CheckScheduler(context.Context, string) error
		SetTimeouts(context.Context, ipvs.Timeouts) error
		Close() error
	}
	device interface {
		applier
		EnsureDevice(context.Context) ([]string, error)
		Inspect(context.Context) ([]dataplane.Fault, error)
		RemoveDevice(context.Context) ([]string, error)
		Addresses(context.Context) ([]netip.Addr, error)
		NodeAddresses(context.Context) ([]dataplane.NodeAddress, error)
		Subscribe(context.Context) (<-chan dataplane.Event, error)
		Close() error
	}
	sets interface {
		applier
		Ensure(context.Context, []dataplane.Set) ([]string, error)
		Inspect(context.Context, []dataplane.Set) (ipset.Inspection, error)
		Replace(context.Context, dataplane.Set) error
		Destroy(ctx context.Context, name string) error
		Sweep(ctx context.Context, names []string) error
		Entries(ctx context.Context, names []string) ([]dataplane.Entry, error)
		Close() error
	}
	rules interface {
		Ensure(context.Context, []dataplane.Ruleset) ([]string, error)
		Inspect(context.Context, []netfilter.Table) ([]dataplane.Fault, error)
		EnsureSparing(context.Context, []dataplane.Ruleset) (repaired []string, spared bool, err error)
		Succeed(context.Context, []dataplane.Ruleset) ([]string, error)
		Retarget(ctx context.Context, rulesets []dataplane.Ruleset, from, to string) ([]string, error)
		Remove(context.Context, []dataplane.Ruleset) ([]string, error)
		Families() []dataplane.Family
		Available(dataplane.Family) error
		Executions() uint64
	}
	predecessor interface {
		Present(context.Context, dataplane.Family) (bool, error)
		Remove(context.Context, dataplane.Family) error
	}
	flows interface {
		Delete(context.Context, []dataplane.Flows) []error
		Close() error
	}
	applier interface {
		Apply(context.Context, []dataplane.Operation) []error
	}
)

// Open opens the drivers in the calling thread's network namespace. It changes nothing. The error tells of every
// subsystem that is missing, not of the first alone.
func Open(ctx context.Context, options Options) (*Host, error) {
	warn := options.Warn
	if warn == nil {
		warn = func(string) {}
	}
	vs, ipvsErr := ipvs.Open()
	dev, linkErr := link.Open()
	set, ipsetErr := ipset.Open(ipset.WithWarnings(warn))
	ct, conntrackErr := conntrack.Open(options.Conntrack...)
	if options.Netfilter.Tables == nil {
		options.Netfilter.Tables = netfilter.HasTables
	}
	if options.Netfilter.Generation == nil {
		options.Netfilter.Generation = netfilter.Generation
	}
	filter, filterErr := netfilter.Open(ctx, options.Netfilter)
	h := &Host{nftables: netfilter.NFTablesMode{}}
	if ipvsErr == nil {
		h.ipvs = vs
	}
	if linkErr == nil {
		h.link = dev
	}
	if ipsetErr == nil {
		h.ipset = set
	}
	if conntrackErr == nil {
		h.conntrack = ct
	}
	if err := errors.Join(ipvsErr, linkErr, ipsetErr, conntrackErr, filterErr); err != nil {
		return nil, errors.Join(fmt.Errorf("open the kernel: %w", err), h.Close())
	}
	h.rules = filter
	return h, nil
}

// Close implements kernel.Kernel.
func (h *Host) Close() error {
	var errs []error
	if h.ipvs != nil {
		errs = append(errs, h.ipvs.Close())
	}
	if h.link != nil {
		errs = append(errs, h.link.Close())
	}
	if h.ipset != nil {
		errs = append(errs, h.ipset.Close())
	}
	if h.conntrack != nil {
		errs = append(errs, h.conntrack.Close())
	}
	return errors.Join(errs...)
}

// Snapshot implements kernel.Kernel. Before the foundation was first ensured it fails with dataplane.ErrNotExist. What
// could not be had of it since, because something else is in the way or the kernel cannot make it, holds nothing: the rest is
// served without it.
func (h *Host) Snapshot(ctx context.Context) (*kernel.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	pools, connections, err := h.ipvs.Pools(ctx)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	addresses, err := h.link.Addresses(ctx)
	if h.bare && (errors.Is(err, dataplane.ErrConflict) || errors.Is(err, dataplane.ErrNotExist)) {
		addresses, err = nil, nil // an interface of another kind has no address of ours, nor has none at all
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	entries, err := h.ipset.Entries(ctx, h.names)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return &kernel.Snapshot{
		Objects:     dataplane.Objects{Pools: pools, Addresses: addresses, Entries: entries},
		Connections: connections,
	}, nil
}

// Connections implements kernel.Kernel.
func (h *Host) Connections(ctx context.Context, keys []dataplane.VirtualServerKey) (map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error) {
	return h.ipvs.Connections(ctx, keys)
}

// NodeAddresses implements kernel.Kernel.
func (h *Host) NodeAddresses(ctx context.Context) ([]dataplane.NodeAddress, error) {
	return h.link.NodeAddresses(ctx)
}

// Subscribe implements kernel.Kernel.
func (h *Host) Subscribe(ctx context.Context) (<-chan dataplane.Event, error) {
	return h.link.Subscribe(ctx)
}

// CheckScheduler returns nil when the kernel has the IPVS scheduler or could load it, and otherwise an error that wraps
// dataplane.ErrNoScheduler. It creates nothing.
func (h *Host) CheckScheduler(ctx context.Context, name string) error {
	return h.ipvs.CheckScheduler(ctx, name)
}

// SetTimeouts sets IPVS's connection timeouts that are not zero.
func (h *Host) SetTimeouts(ctx context.Context, timeouts ipvs.Timeouts) error {
	return h.ipvs.SetTimeouts(ctx, timeouts)
}

// Families returns the families for which packet-filter rules can be installed, IPv4 first.
func (h *Host) Families() []dataplane.Family { return h.rules.Families() }

// Available returns nil for a family for which packet-filter rules can be installed, or why that is impossible,
// wrapping dataplane.ErrUnavailable.
func (h *Host) Available(family dataplane.Family) error { return h.rules.Available(family) }

// Executions returns how many processes were started so far.
func (h *Host) Executions() uint64 { return h.rules.Executions() }
