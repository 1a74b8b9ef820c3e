package plan

import "kube-ipvs-proxy/internal/dataplane"

// entry plans one entry of a set.
func (d *draft) entry(key dataplane.Entry) {
	want, wanted := d.request.Desired.Entry(key)
	mark, have := d.planner.entries[key]
	switch {
	case wanted && (!have || mark != want.Mark):
		d.then(d.comes(want), add(want))
	case !wanted && have:
		if in, goes := d.goes(key, mark); goes {
			d.then(in, remove(key))
		}
	}
}

// comes returns when an entry is added. An exception of a rule that has been in force waits until the servers are those it
// is meant for; where nothing has been in force, no client is to get through without it.
func (d *draft) comes(entry dataplane.Entry) phase {
	if rule, ok := d.planner.options.Exceptions.RuleOf(entry); ok {
		if _, inForce := d.planner.entries[rule]; inForce {
			return exceptionsUp
		}
	}
	if _, refuses := d.planner.options.Refusals[entry.Set]; refuses {
		return refusalsUp
	}
	if entry.Mark != 0 {
		return marksUp
	}
	return entriesUp
}

// goes returns when an entry is deleted, and whether it is.
func (d *draft) goes(key dataplane.Entry, mark uint32) (in phase, now bool) {
	if rule, ok := d.planner.options.Exceptions.RuleOf(key); ok {
		if _, stays := d.request.Desired.Entry(rule); stays {
			return exceptionsDown, true
		}
	}
	if _, refuses := d.planner.options.Refusals[key.Set]; refuses && d.served(key) {
		return refusalsDown, true
	}
	if mark != 0 {
		return marksDown, !d.request.AddOnly
	}
	return entriesDown, !d.request.AddOnly
}

// served reports whether there are to be real servers behind what the entry is about.
func (d *draft) served(entry dataplane.Entry) bool {
	if !entry.Addr.IsValid() {
		return false
	}
	pool, _ := d.request.Desired.Pool(dataplane.KeyOf(entry.Protocol, entry.Addr, entry.Port))
	return len(pool.RealServers) > 0
}
