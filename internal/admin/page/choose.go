package page

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
)

// perPage is how many virtual servers a page shows.
const perPage = 20

// chosen are the virtual servers of a page, and how many there are.
type chosen struct {
	page, pages  int
	matching, of int
}

// from returns which of the virtual servers are on the page that is asked for, or on the last one, in the order of their
// Services' names.
func (c *chosen) from(q query, pools []dataplane.Pool, owners []reconcile.Owner) []int {
	var found []int
	words := strings.ToLower(q.words)
	for i, pool := range pools {
		if owners[i].Service.Name == "" {
			continue // the node's own
		}
		c.of++
		if words == "" || matches(words, pool, owners[i]) {
			found = append(found, i)
		}
	}
	slices.SortFunc(found, func(a, b int) int {
		x, y := owners[a].Service, owners[b].Service
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name), pools[a].Key.Compare(pools[b].Key))
	})
	c.matching, c.pages = len(found), max(1, (len(found)+perPage-1)/perPage)
	c.page = min(q.page, c.pages)
	first := (c.page - 1) * perPage
	return found[first:min(first+perPage, len(found))]
}

// matches reports whether NAMESPACE/NAME contains the words, or an address of the virtual server or of a real server
// begins with them.
func matches(words string, pool dataplane.Pool, owner reconcile.Owner) bool {
	if strings.Contains(owner.Service.Namespace+"/"+owner.Service.Name, words) {
		return true
	}
	if !strings.ContainsAny(words, ".:") {
		return false // no address
	}
	begins := func(addr, withPort string) bool {
		return strings.HasPrefix(addr, words) || strings.HasPrefix(withPort, words)
	}
	for _, key := range append([]dataplane.VirtualServerKey{pool.Key}, pool.For...) {
		if key.Mark == 0 && begins(key.Addr.String(), netip.AddrPortFrom(key.Addr, key.Port).String()) {
			return true
		}
	}
	return slices.ContainsFunc(pool.RealServers, func(r dataplane.RealServer) bool { return begins(r.Addr.Addr().String(), r.Addr.String()) })
}
