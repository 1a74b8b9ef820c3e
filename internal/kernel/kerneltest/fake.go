package kerneltest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
)

var _ kernel.Kernel = (*Fake)(nil)

// Fake is an in-memory kernel that enforces what the real one enforces at the interface kernel.Kernel, with the same
// errors. It counts and logs what it is asked, and can be changed "by hand" as an operator or another program would.
// All methods may be called concurrently.
type Fake struct {
	mu         sync.Mutex
	schedulers map[string]bool
	pools      map[dataplane.VirtualServerKey]*fakePool
	link       fakeLink
	sets       fakeSets
	rules      map[dataplane.Family]dataplane.Ruleset
	spared     bool // rules, by the last EnsureFoundation
	events     broadcaster
	record     recorder
	closed     bool
}

// fakePool is a virtual server with its real servers in the order of insertion.
type fakePool struct {
	dataplane.VirtualServer
	servers     []dataplane.RealServer
	connections map[netip.AddrPort]uint32
}

// fakeLink is the device and the addresses of all interfaces.
type fakeLink struct {
	kind      string // of the interface named dataplane.Device; empty when there is none
	addresses map[netip.Addr]bool
	node      map[dataplane.NodeAddress]bool
}

// fakeSets are all ipsets.
type fakeSets struct {
	byName     map[string]*fakeSet
	foundation []string // names of those of the last foundation
	limit      uint32   // how far a full set is grown
}

// fakeSet is an ipset with its entries by identity.
type fakeSet struct {
	dataplane.Set
	entries map[dataplane.Entry]dataplane.Entry
}

// NewFake returns an empty kernel without the device, sets or rules. Schedulers are those that can be loaded; without
// any, all that Linux has.
func NewFake(schedulers ...string) *Fake {
	if len(schedulers) == 0 {
		schedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf"}
	}
	f := &Fake{
		schedulers: map[string]bool{},
		pools:      map[dataplane.VirtualServerKey]*fakePool{},
		link:       fakeLink{addresses: map[netip.Addr]bool{}, node: map[dataplane.NodeAddress]bool{}},
		sets:       fakeSets{byName: map[string]*fakeSet{}, limit: 1 << 24},
		rules:      map[dataplane.Family]dataplane.Ruleset{},
	}
	for _, name := range schedulers {
		f.schedulers[name] = true
	}
	return f
}

// begin locks the kernel for one call and refuses it when the context ended or the kernel was closed. The caller
// unlocks, whatever begin returns.
func (f *Fake) begin(ctx context.Context) error {
	f.mu.Lock()
	if f.closed {
		return fmt.Errorf("kernel: %w", os.ErrClosed)
	}
	return ctx.Err()
}

// Snapshot implements kernel.Kernel. Like the real one it fails with ErrNotExist while the device or a set of the
// foundation is missing.
func (f *Fake) Snapshot(ctx context.Context) (*kernel.Snapshot, error) {
	err := f.begin(ctx)
	defer f.mu.Unlock()
	f.record.counts.Snapshots++
	if err != nil {
		return nil, err
	}
	if err := f.link.usable(); err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	for _, name := range f.sets.foundation {
		if f.sets.byName[name] == nil {
			return nil, fmt.Errorf("list set %s: %w", name, dataplane.ErrNotExist)
		}
	}
	snapshot := &kernel.Snapshot{Objects: f.objects(), Connections: map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32{}}
	for key, pool := range f.pools {
		for _, server := range pool.servers {
			if server.Weight != 0 {
				continue
			}
			if snapshot.Connections[key] == nil {
				snapshot.Connections[key] = map[netip.AddrPort]uint32{}
			}
			snapshot.Connections[key][server.Addr] = pool.connections[server.Addr]
		}
	}
	return snapshot, nil
}

// objects returns copies of everything in the kernel; entries of the foundation's sets only.
func (f *Fake) objects() dataplane.Objects {
	var o dataplane.Objects
	for _, key := range slices.SortedFunc(maps.Keys(f.pools), dataplane.VirtualServerKey.Compare) {
		pool := f.pools[key]
		o.Pools = append(o.Pools, dataplane.Pool{VirtualServer: pool.VirtualServer, RealServers: slices.Clone(pool.servers)})
	}
	o.Addresses = slices.SortedFunc(maps.Keys(f.link.addresses), netip.Addr.Compare)
	for _, name := range f.sets.foundation {
		if set := f.sets.byName[name]; set != nil {
			o.Entries = slices.AppendSeq(o.Entries, maps.Values(set.entries))
		}
	}
	slices.SortFunc(o.Entries, dataplane.Entry.Compare)
	return o
}

// Connections implements kernel.Kernel.
func (f *Fake) Connections(ctx context.Context, keys []dataplane.VirtualServerKey) (map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error) {
	err := f.begin(ctx)
	defer f.mu.Unlock()
	f.record.counts.Connections++
	if err != nil {
		return nil, err
	}
	all := map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32{}
	for _, key := range keys {
		pool := f.pools[key]
		if pool == nil {
			continue
		}
		all[key] = map[netip.AddrPort]uint32{}
		for _, server := range pool.servers {
			all[key][server.Addr] = pool.connections[server.Addr]
		}
	}
	return all, nil
}

// NodeAddresses implements kernel.Kernel.
func (f *Fake) NodeAddresses(ctx context.Context) ([]dataplane.NodeAddress, error) {
	err := f.begin(ctx)
	defer f.mu.Unlock()
	f.record.counts.NodeAddresses++
	if err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Keys(f.link.node), compareNodeAddresses), nil
}

// Subscribe implements kernel.Kernel.
func (f *Fake) Subscribe(ctx context.Context) (<-chan dataplane.Event, error) {
	err := f.begin(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.events.subscribe(ctx), nil
}

// Close implements kernel.Kernel: later calls fail with os.ErrClosed.
func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}
