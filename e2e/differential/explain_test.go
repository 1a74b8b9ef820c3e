package differential

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// shrinkTime bounds the search for a smaller case, unless SHRINK says otherwise.
const shrinkTime = 8 * time.Minute

var errTimeUp = errors.New("no time left to shrink it")

// explain looks for the smallest case that differs, on the two proxies as they are, and describes it.
func (r *rig) explain(t *testing.T, c Case, first Report) string {
	limit, err := time.ParseDuration(os.Getenv("SHRINK"))
	if err != nil {
		limit = shrinkTime
	}
	end := time.Now().Add(limit)
	tries, last := 0, first
	fails := func(smaller Case) (bool, error) {
		if time.Now().After(end) {
			return false, errTimeUp
		}
		tries++
		report, err := r.again(t, smaller)
		if errors.Is(err, errDirty) || t.Context().Err() != nil {
			return false, err
		}
		if err != nil || len(report.Differences) == 0 {
			return false, nil // such as a case that the API server does not take
		}
		last = report
		return true, nil
	}
	about := About(c, first.Differences)
	start := about
	if failed, err := fails(about); err != nil || !failed {
		start = c
		if failed, err := fails(c); err != nil || !failed {
			return fmt.Sprintf("made again with the same proxies it does not differ (%v). What the differences are about:\n%s", err, about)
		}
	}
	smallest := Shrink(start, fails)
	var text strings.Builder
	fmt.Fprintf(&text, "the smallest case found in %d tries has %d writes of %d:\n%s\n%v", tries, smallest.Len(), c.Len(), smallest, last.Err())
	return text.String()
}

// errDirty says that what an earlier case has left differs, so that no more can be tried.
var errDirty = errors.New("the two differ without any object")

// again makes a case from nothing, on the proxies as they are.
func (r *rig) again(t *testing.T, c Case) (Report, error) {
	ctx := t.Context()
	if err := r.clear(ctx, func(name string) bool { return name == markerName(r.markers) }); err != nil {
		return Report{}, err
	}
	if err := r.write(ctx, nil); err != nil {
		return Report{}, err
	}
	report, err := r.compare(ctx)
	if err != nil {
		return report, err
	}
	if len(report.Differences) > 0 {
		return report, fmt.Errorf("%w: %w", errDirty, report.Err())
	}
	for _, step := range c.Steps {
		if err := r.write(ctx, step); err != nil {
			return Report{}, err
		}
		if report, err = r.compare(ctx); err != nil || len(report.Differences) > 0 {
			return report, err
		}
	}
	return report, nil
}
