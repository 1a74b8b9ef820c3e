package page

import "time"

// refreshEvery is what the link to a page that refreshes itself asks for.
const refreshEvery = 10 * time.Second

// Words is the filter.
func (c content) Words() string { return c.Query.words }

// Refresh is after how many seconds the browser is to ask again, 0 for never.
func (c content) Refresh() int { return int(c.Query.refresh / time.Second) }

// Toggle is the link to the same page with or without refreshing itself.
func (c content) Toggle() string {
	if c.Query.refresh > 0 {
		return c.Query.with(c.Chosen.page, 0)
	}
	return c.Query.with(c.Chosen.page, refreshEvery)
}

// Previous is the link to the page before, empty if there is none.
func (c content) Previous() string {
	if c.Chosen.page <= 1 {
		return ""
	}
	return c.Query.with(c.Chosen.page-1, c.Query.refresh)
}

// Next is the link to the page after it, empty if there is none.
func (c content) Next() string {
	if c.Chosen.page >= c.Chosen.pages {
		return ""
	}
	return c.Query.with(c.Chosen.page+1, c.Query.refresh)
}

// All is the link without a filter.
func (c content) All() string { return query{}.with(1, c.Query.refresh) }

// Page is which one this is, from 1.
func (c content) Page() int { return c.Chosen.page }

// Pages is how many there are with the filter.
func (c content) Pages() int { return c.Chosen.pages }

// Matching is how many virtual servers the filter lets through.
func (c content) Matching() int { return c.Chosen.matching }

// Of is how many virtual servers there are.
func (c content) Of() int { return c.Chosen.of }

// Up is for how long the daemon has run.
func (c content) Up() string { return short(c.Now.Sub(c.Source.Started)) }

// Short is how old what a source says is.
func (a age) Short() string { return short(a.Age) }

// Took is how long the round took.
func (r round) Took() string { return short(r.Duration) }

// Bad reports whether the virtual server is not as it is wanted.
func (s server) Bad() bool { return len(s.RealServers) > 0 && !s.Present }
