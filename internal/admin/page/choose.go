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
	compare := func(a, b int) int {
		x, y := owners[a].Service, owners[b].Service
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name), pools[a].Key.Compare(pools[b].Key))
	}
	first := smallest{most: q.page * perPage, compare: compare}
	words := strings.ToLower(q.words)
	for i, pool := range pools {
		if owners[i].Service.Name == "" {
			continue // the node's own
		}
		c.of++
		if words == "" || matches(words, pool, owners[i]) {
			c.matching++
			first.add(i)
		}
	}
	c.pages = max(1, (c.matching+perPage-1)/perPage)
	c.page = min(q.page, c.pages)
	found := first.sorted()
	return found[(c.page-1)*perPage : min(c.page*perPage, len(found))]
}

// smallest keeps the smallest of what it is given, so that of very many nearly all are compared once.
type smallest struct {
	most    int
	compare func(a, b int) int
	kept    []int
	full    bool // kept[most-1] is larger than all before it, and what is larger than that is not wanted
}

func (s *smallest) add(i int) {
	if s.full && s.compare(i, s.kept[s.most-1]) > 0 {
		return
	}
	if s.kept = append(s.kept, i); len(s.kept) == 2*s.most {
		s.sorted()
	}
}

func (s *smallest) sorted() []int {
	slices.SortFunc(s.kept, s.compare)
	s.full = len(s.kept) >= s.most
	s.kept = s.kept[:min(s.most, len(s.kept))]
	return s.kept
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
