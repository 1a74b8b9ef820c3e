package plan

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// Desired answers what is wanted under a key.
type Desired interface {
	Pool(dataplane.VirtualServerKey) (dataplane.Pool, bool)
	Address(netip.Addr) bool
	Entry(key dataplane.Entry) (dataplane.Entry, bool)
}

// Options are fixed for the life of a Planner.
type Options struct {
	// DrainTimeout bounds how long a real server drains that no slice lists any more.
	DrainTimeout time.Duration
	// Ours says whether a virtual server found in the kernel belongs to this proxy, so that it may be deleted.
	Ours func(dataplane.VirtualServerKey) bool
	// Exceptions are the sets whose entries keep from masquerading what those of others have masqueraded. Refusals are the
	// sets whose entries keep new connections off a virtual server.
	Exceptions dataplane.Exceptions
	Refusals   map[string]struct{}
}

// Planner holds the confirmed state of the kernel. It is not safe for concurrent use.
type Planner struct {
	options   Options
	pools     map[dataplane.VirtualServerKey]*pool
	addresses map[netip.Addr]struct{}
	entries   map[dataplane.Entry]uint32
	inEntries map[uint32]int // how many of the entries carry a mark
	// leaving holds, for each desired virtual server, the real servers last known to be terminating or not serving. It
	// outlives the desired state that said so: when they vanish from the slices, it tells that they are gone.
	leaving map[dataplane.VirtualServerKey][]netip.AddrPort
	// weightless are the virtual servers in which a real server with weight 0 was confirmed; some may have none by now.
	weightless map[dataplane.VirtualServerKey]struct{}
	// marked holds what Pool.For last said of each firewall-mark virtual server, and apart the reverse.
	marked, apart map[dataplane.VirtualServerKey][]dataplane.VirtualServerKey
	newer         *newer // nil unless a snapshot is being read
}

// New returns a Planner that knows of nothing in the kernel yet.
func New(options Options) *Planner {
	return &Planner{
		options:    options,
		pools:      make(map[dataplane.VirtualServerKey]*pool),
		addresses:  make(map[netip.Addr]struct{}),
		entries:    make(map[dataplane.Entry]uint32),
		inEntries:  make(map[uint32]int),
		leaving:    make(map[dataplane.VirtualServerKey][]netip.AddrPort),
		weightless: make(map[dataplane.VirtualServerKey]struct{}),
		marked:     make(map[dataplane.VirtualServerKey][]dataplane.VirtualServerKey),
		apart:      make(map[dataplane.VirtualServerKey][]dataplane.VirtualServerKey),
	}
}

// Request asks for the operations that some keys need.
type Request struct {
	Keys    dataplane.Keys
	Desired Desired
	Now     time.Time
	// AddOnly leaves out everything that takes something away from traffic: deletions and draining. It is set while
	// some source is incomplete. What keeps clients off a server that is there now is deleted all the same.
	AddOnly bool
	// Ended tells of draining real servers without connections; nil when nobody looked.
	Ended func(dataplane.VirtualServerKey, netip.AddrPort) bool
}

// Plan returns the operations, in order, that bring the keys of the request to their desired state. An empty plan means
// that the confirmed state is as desired.
func (p *Planner) Plan(request Request) []dataplane.Operation {
	d := &draft{planner: p, request: request, flows: make(map[dataplane.Flows]struct{})}
	for _, key := range sorted(request.Keys.Entries, dataplane.Entry.Compare) {
		d.entry(key)
	}
	for _, key := range sorted(request.Keys.VirtualServers, dataplane.VirtualServerKey.Compare) {
		d.pool(key)
	}
	for _, addr := range sorted(request.Keys.Addresses, netip.Addr.Compare) {
		d.address(addr)
	}
	for flows := range request.Keys.Flows {
		d.stillStale(flows)
	}
	return d.operations()
}

func sorted[K comparable](set map[K]struct{}, compare func(a, b K) int) []K {
	keys := slices.AppendSeq(make([]K, 0, len(set)), maps.Keys(set))
	slices.SortFunc(keys, compare)
	return keys
}

// draft collects the operations of one plan by the phase they belong to.
type draft struct {
	planner *Planner
	request Request
	phases  [phases][]dataplane.Operation
	flows   map[dataplane.Flows]struct{} // to be deleted
}

// phase is a part of a plan. On the way up an address comes last, on the way down it goes first, so that no packet meets a
// virtual address without its virtual server. Stale flows go when no server takes them any more.
type phase uint8

const (
	exceptionsDown phase = iota // before endpoints on other nodes come: their answers have to find back
	entriesUp
	serversUp
	marksUp    // when there are servers behind the marks
	refusalsUp // when those who are exempt by a mark have it
	addressesUp
	refusalsDown // as soon as there are servers
	addressesDown
	marksDown // before the servers behind the marks stop taking connections
	serversDown
	exceptionsUp // when the endpoints on other nodes have gone
	flowsDown
	entriesDown
	phases
)

// then adds an operation to a phase.
func (d *draft) then(in phase, operations ...dataplane.Operation) {
	d.phases[in] = append(d.phases[in], operations...)
}

// operations puts the phases in order.
func (d *draft) operations() []dataplane.Operation {
	for _, stale := range sorted(d.flows, dataplane.Flows.Compare) {
		d.then(flowsDown, remove(stale))
	}
	return slices.Concat(d.phases[:]...)
}

func add(object dataplane.Object) dataplane.Operation {
	return dataplane.Operation{Verb: dataplane.Add, Object: object}
}

func edit(object dataplane.Object) dataplane.Operation {
	return dataplane.Operation{Verb: dataplane.Edit, Object: object}
}

func remove(object dataplane.Object) dataplane.Operation {
	return dataplane.Operation{Verb: dataplane.Delete, Object: object}
}

func (d *draft) address(addr netip.Addr) {
	wanted := d.request.Desired.Address(addr)
	_, have := d.planner.addresses[addr]
	switch {
	case wanted && !have:
		d.then(addressesUp, add(dataplane.Address{Addr: addr}))
	case !wanted && have && !d.request.AddOnly:
		d.then(addressesDown, remove(dataplane.Address{Addr: addr}))
	}
}

// Keys returns the key of everything in the confirmed state.
func (p *Planner) Keys() dataplane.Keys {
	keys := dataplane.NewKeys()
	for key := range p.pools {
		keys.VirtualServers[key] = struct{}{}
	}
	for addr := range p.addresses {
		keys.Addresses[addr] = struct{}{}
	}
	for key := range p.entries {
		keys.Entries[key] = struct{}{}
	}
	return keys
}
