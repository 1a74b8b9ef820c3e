package differential

import (
	"context"
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
		report, err := r.again(t.Context(), smaller)
		if t.Context().Err() != nil {
			return false, err
		}
		if err != nil || len(report.Differences) == 0 {
			return false, nil // such as a case that the API server does not take
		}
		last = report
		return true, nil
	}
	if err := r.clean(t.Context()); err != nil {
		return err.Error()
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

// clean removes all objects and checks that then nothing differs.
func (r *rig) clean(ctx context.Context) error {
	if err := r.replace(ctx, nil); err != nil {
		return err
	}
	report, err := r.compare(ctx)
	if err == nil && len(report.Differences) > 0 {
		err = fmt.Errorf("%w: %w", errDirty, report.Err())
	}
	return err
}

// again makes a case instead of what is there, on the proxies as they are.
func (r *rig) again(ctx context.Context, c Case) (report Report, err error) {
	for i, step := range c.Steps {
		put := r.write
		if i == 0 {
			put = r.replace
		}
		if err := put(ctx, step); err != nil {
			return Report{}, err
		}
		if err := r.settle(ctx); err != nil {
			return Report{}, err
		}
		if report, err = r.look(ctx); err != nil || len(report.Differences) > 0 {
			return report, err
		}
	}
	return report, nil
}

// replace makes writes instead of everything that is there, as one step.
func (r *rig) replace(ctx context.Context, ops []Op) error {
	r.rival.pause() // write lets it go on
	if err := r.clear(ctx, func(name string) bool { return name == markerName(r.markers) }); err != nil {
		return err
	}
	return r.write(ctx, ops)
}
