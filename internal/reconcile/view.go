package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/service"
)

// View is what the reconciler wants of the kernel at one moment, and how far it is. It is the caller's, but what it
// refers to is shared with the reconciler and must not be changed.
type View struct {
	At time.Time
	// Complete: every source has delivered everything, and all of it has been translated.
	Complete bool
	// LastRound and LastAudit are when the last round began and the last audit ended; zero if there was none.
	LastRound, LastAudit time.Time
	// Waiting is the number of objects whose operations failed and will be tried again.
	Waiting    int
	Foundation kernel.Foundation
	Objects    dataplane.Objects
	Owners     Owners
	// Draining are the real servers with weight 0 that are not wanted, in order.
	Draining []dataplane.Member
	Basis    Basis
}

// Basis is what Services were translated with. Pods are told by the CIDRs in effect, those of the Node object included.
type Basis struct {
	Facts   service.Facts
	Options service.Options
}

// Owners says for whom the objects of a View are there: Pools[i] for Objects.Pools[i], and so on.
type Owners struct{ Pools, Addresses, Entries []Owner }

// Delivered is a Service with its slices, as a source has delivered it.
type Delivered struct {
	Source string
	service.View
}

// Services returns those Services of complete sources that the caller wants, in order. The function is called for each of
// them while sources wait: it has to be quick.
func (r *Reconciler) Services(want func(service.View) bool) []Delivered {
	r.inbox.mu.Lock()
	defer r.inbox.mu.Unlock()
	var found []Delivered
	for _, s := range r.inbox.sources {
		if len(s.awaited) > 0 {
			continue
		}
		for name := range s.catalog.Names() {
			if view, exists := s.catalog.View(name); exists && want(view) {
				found = append(found, Delivered{s.name, view})
			}
		}
	}
	slices.SortFunc(found, func(a, b Delivered) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Name.String(), b.Name.String()))
	})
	return found
}

// Owner is the Service for which an object is there. Of several that want it, it is the one that counts.
type Owner struct {
	Source  string       // that delivered the Service; empty for what the node itself needs
	Service service.Name // zero for what the node itself needs
	Port    string       // name of the Service's port that a virtual server is for; empty if it has none, and for other objects
}

// moment is what Run's goroutine puts into a view. The rest is worked out by who asked.
type moment struct {
	View
	wanted ledger.Owned
}

// View returns a consistent copy of what is wanted, taken between two rounds. It waits for that, until the context ends
// or Run does.
func (r *Reconciler) View(ctx context.Context) (View, error) {
	answer := make(chan moment, 1)
	select {
	case r.calls.views <- answer:
	case <-ctx.Done():
		return View{}, fmt.Errorf("ask the reconciler what it wants: %w; a round is under way, or it has not begun: try again", ctx.Err())
	}
	taken := <-answer // at once: it was asked
	view := taken.View
	view.Objects = taken.wanted.Objects
	view.Owners = Owners{Pools: r.owners(taken.wanted.PoolOwners), Addresses: r.owners(taken.wanted.AddressOwners),
		Entries: r.owners(taken.wanted.EntryOwners)}
	r.inbox.namePorts(view.Objects.Pools, view.Owners.Pools)
	return view, nil
}

// look takes the view, on Run's goroutine: rounds wait for as long as it takes.
func (r *Reconciler) look() moment {
	l := &r.loop
	return moment{wanted: l.ledger.Owned(), View: View{At: r.options.Clock.Now(), Complete: l.status.complete, LastRound: l.started,
		LastAudit: r.survey.audited, Waiting: len(l.retries.objects), Foundation: r.foundation(), Draining: l.planner.Drains(l.ledger),
		Basis: r.basis()}}
}

func (r *Reconciler) basis() Basis {
	b := Basis{r.loop.facts, r.options.Service}
	if b.Options.Masquerade.Local.NodeCIDRs {
		b.Options.Masquerade.Local.CIDRs = b.Facts.Node.PodCIDRs
	}
	return b
}

func (r *Reconciler) owners(all []*ledger.Owner) []Owner {
	known, owners := make(map[*ledger.Owner]Owner), make([]Owner, len(all))
	for i, owner := range all {
		one, found := known[owner]
		if !found && owner.Name != nodeOwner {
			one.Source, one.Service = ownedBy(owner.Name)
			known[owner] = one
		}
		owners[i] = one
	}
	return owners
}

// namePorts fills in which ports of their Services the pools are for, as far as the Services still have them.
func (b *inbox) namePorts(pools []dataplane.Pool, owners []Owner) {
	b.mu.Lock()
	defer b.mu.Unlock()
	catalogs := make(map[string]*service.Catalog, len(b.sources))
	for _, s := range b.sources {
		catalogs[s.name] = s.catalog
	}
	for i, owner := range owners {
		if catalog := catalogs[owner.Source]; catalog != nil {
			view, _ := catalog.View(owner.Service)
			owners[i].Port = portOf(view.Service, pools[i])
		}
	}
}

// portOf returns the name of the port that a pool is for: at an address of the Service the one with the pool's number, at
// others the one with that as its NodePort. One port may have the number that another has as its NodePort. Where only the
// other way leads to a port, because the Service is changing, that one counts.
func portOf(s service.Service, pool dataplane.Pool) string {
	key := pool.Key
	if len(pool.For) > 0 {
		key = pool.For[0]
	}
	byNumber := func(p service.Port) bool { return p.Protocol == key.Protocol && p.Port == key.Port }
	byNodePort := func(p service.Port) bool { return p.Protocol == key.Protocol && p.NodePort == key.Port }
	first, second := byNodePort, byNumber
	if slices.Contains(s.VIPs.Cluster, key.Addr) || slices.Contains(s.VIPs.External, key.Addr) || slices.Contains(s.VIPs.LoadBalancer, key.Addr) {
		first, second = byNumber, byNodePort
	}
	at := slices.IndexFunc(s.Ports, first)
	if at < 0 {
		at = slices.IndexFunc(s.Ports, second)
	}
	if at < 0 {
		return ""
	}
	return s.Ports[at].Name
}
