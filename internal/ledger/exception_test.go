package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
)

// A port alone is in conflict without any virtual server to lose: whether it is an exception is up to the owner that comes
// first to the rule, and what changes by that is reported.
func TestExceptionsAreUpToWhoComesFirst(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	rule, exception := dataplane.Entry{Set: "PORTS", Port: 30080}, dataplane.Entry{Set: "PORTS-LOCAL", Port: 30080}
	l := ledger.New(dataplane.Exceptions{exception.Set: rule.Set})
	type wish struct {
		created       time.Time
		rule, excepts bool
	}
	all, before := map[string]wish{}, false
	for step := range 3000 {
		o := owner(fmt.Sprint("svc", random.IntN(4)), random.IntN(3))
		one, objects := wish{o.Created, random.IntN(3) > 0, random.IntN(2) == 0}, dataplane.Objects{}
		if one.rule {
			objects.Entries = append(objects.Entries, rule)
		}
		if one.excepts = one.rule && one.excepts; one.excepts {
			objects.Entries = append(objects.Entries, exception)
		}
		all[o.Name] = one
		changes := replace(l, o, objects)
		first := ""
		for name, w := range all {
			older := first == "" || w.created.Before(all[first].created) || w.created.Equal(all[first].created) && name < first
			if w.rule && older {
				first = name
			}
		}
		want := all[first].excepts
		_, got := l.Entry(exception)
		if _, reported := changes.Entries[exception]; got != want || got != before && !reported {
			t.Fatalf("step %d: exception %v, reported %v; %q comes first and wants %v", step, got, reported, first, want)
		}
		before = got
	}
}
