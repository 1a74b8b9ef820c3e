package netfilter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// edit is what a planner decided about one table, and what became of it.
type edit struct {
	table     dataplane.Table
	change    change
	earlier   []string // what an attempt put right whose outcome was unknown
	objection error    // the planner's; the change is carried out nevertheless
	failed    error
}

// edits are those of the tables of one family.
type edits []edit

// several reports whether more than one table has to change.
func (e edits) several() bool {
	count := 0
	for _, one := range e {
		if !one.change.empty() {
			count++
		}
	}
	return count > 1
}

// text returns the changes as input of iptables-restore, nothing if there are none.
func (e edits) text() string {
	var text strings.Builder
	for _, one := range e {
		if !one.change.empty() {
			text.WriteString(one.change.text(one.table))
		}
	}
	return text.String()
}

// fail notes that the only table that had to change could not be written.
func (e edits) fail(err error) {
	for i := range e {
		if !e[i].change.empty() {
			e[i].failed = err
		}
	}
}

// recall notes that tables in which nothing has to change any more were put right by an earlier attempt.
func (e edits) recall(attempt edits) {
	for i := range e {
		if e[i].change.empty() {
			e[i].earlier = attempt[i].change.because
		}
	}
}

// report returns a line for each thing that was done, also where the planner had something to complain about, and the
// errors.
func (e edits) report(family dataplane.Family) (done []string, err error) {
	var errs []error
	for _, one := range e {
		prefix := fmt.Sprintf("%v table %s", family, one.table)
		lines := slices.Concat(one.earlier, one.change.because)
		if one.failed != nil {
			lines = nil
		}
		for _, line := range lines {
			done = append(done, prefix+": "+line)
		}
		if err := errors.Join(one.objection, one.failed); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", prefix, err))
		}
	}
	return done, errors.Join(errs...)
}
