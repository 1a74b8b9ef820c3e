package conntrack

import (
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// Pass is one search through the entries of a family, with the deletion of what it found.
type Pass struct {
	Family  dataplane.Family
	Took    time.Duration
	Deleted int // entries
}

// Option changes how a Driver works.
type Option func(*Driver)

// WithReport has every pass reported that could read the entries, from within Delete. now tells the time.
func WithReport(now func() time.Time, report func(Pass)) Option {
	return func(d *Driver) { d.now, d.report = now, report }
}

// timed takes the time of a pass. What it returns reports the pass.
func (d *Driver) timed(family dataplane.Family) (end func(deleted int)) {
	if d.report == nil {
		return func(int) {}
	}
	started := d.now()
	return func(deleted int) { d.report(Pass{family, d.now().Sub(started), deleted}) }
}
