package page

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"kube-ipvs-proxy/internal/admin"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// mostEndpoints is how many real servers of a virtual server are shown; those that do not simply serve come first.
const mostEndpoints = 30

// content is what the template shows.
type content struct {
	Source  Source
	Now     time.Time
	Query   query
	Chosen  chosen
	History past
	Healthy bool
	Ages    []age
	Groups  []group
	Error   string // why there are no virtual servers, or no numbers
}

type age struct {
	Source string
	Age    time.Duration
}

// group is a Service with those of its virtual servers that are on the page.
type group struct {
	Name, From string // From: the source, if it is not the API server
	Servers    []server
}

// server is a virtual server.
type server struct {
	admin.ServerStatus
	Reals []admin.RealStatus
	More  int // real servers that are not among them
}

// gather puts together what is to be shown. What cannot be read leaves its error.
func (s Source) gather(ctx context.Context, q query) content {
	c := content{Source: s, Now: s.Clock.Now(), Query: q, History: s.History.look(), Healthy: s.Healthy()}
	ages := s.Ages()
	for _, name := range slices.Sorted(maps.Keys(ages)) {
		c.Ages = append(c.Ages, age{name, ages[name]})
	}
	status, err := s.status(ctx, q, &c.Chosen)
	if err != nil {
		c.Error = err.Error()
		return c
	}
	for _, one := range status.VirtualServers {
		name := one.Owner.Namespace + "/" + one.Owner.Name
		if last := len(c.Groups) - 1; last < 0 || c.Groups[last].Name != name {
			c.Groups = append(c.Groups, group{Name: name})
			if one.Owner.Source != "api" {
				c.Groups[last+1].From = one.Owner.Source
			}
		}
		g := &c.Groups[len(c.Groups)-1]
		g.Servers = append(g.Servers, serverOf(one))
	}
	return c
}

// serverOf puts the real servers first of which there is something to say, and cuts off the others.
func serverOf(one admin.ServerStatus) server {
	reals := slices.Clone(one.RealServers)
	slices.SortStableFunc(reals, func(a, b admin.RealStatus) int { return rank(a) - rank(b) })
	shown := min(len(reals), mostEndpoints)
	return server{one, reals[:shown], len(reals) - shown}
}

func rank(r admin.RealStatus) int {
	if r.State == admin.RealServing {
		return 1
	}
	return 0
}

// status reads the virtual servers of a page.
func (s Source) status(ctx context.Context, q query, which *chosen) (admin.Status, error) {
	view, err := s.Pools(ctx, func(pools []dataplane.Pool, owners []reconcile.Owner) []int { return which.from(q, pools, owners) })
	if err != nil {
		return admin.Status{}, err
	}
	var names []service.Name
	keys := make([]dataplane.VirtualServerKey, len(view.Objects.Pools))
	for i, pool := range view.Objects.Pools {
		keys[i] = pool.Key
		if name := view.Owners.Pools[i].Service; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	usage := make(map[dataplane.VirtualServerKey]dataplane.Usage, len(keys))
	err = s.Usage(ctx, keys, func(key dataplane.VirtualServerKey, used dataplane.Usage) {
		used.Servers = slices.Clone(used.Servers)
		usage[key] = used
		for _, load := range used.Servers {
			if load.Weight == 0 { // it may drain: where it is is to be found out
				view.Draining = append(view.Draining, dataplane.Member{VirtualServer: key, RealServer: load.RealServer})
			}
		}
	})
	if err != nil {
		return admin.Status{}, fmt.Errorf("read IPVS: %w", err)
	}
	wanted := admin.ServersOf(view, s.Services(names), admin.Settings{Node: s.Node}, names)
	desired, err := wanted.Desired()
	if err != nil {
		return admin.Status{}, err
	}
	return admin.StatusOf(wanted, desired, usage, s.Clock.Now()), nil
}
