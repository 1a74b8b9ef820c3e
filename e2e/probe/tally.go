package probe

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// keptFailures is how many failures a Tally keeps; it counts them all.
const keptFailures = 10

// Tally counts the outcomes of several questions.
type Tally struct {
	// Backends has the number of answers by the backend's name.
	Backends map[string]int
	// Clients has the number of answers by the source address that the backend saw.
	Clients map[netip.Addr]int
	// Answered and Failed are how many questions were answered and how many were not.
	Answered, Failed int
	// Failures are the first of the errors.
	Failures []error
}

// add counts one outcome.
func (t *Tally) add(answer Answer, err error) {
	if err != nil {
		t.Failed++
		if len(t.Failures) < keptFailures {
			t.Failures = append(t.Failures, err)
		}
		return
	}
	if t.Backends == nil {
		t.Backends, t.Clients = map[string]int{}, map[netip.Addr]int{}
	}
	t.Answered++
	t.Backends[answer.Backend]++
	t.Clients[answer.Client.Addr()]++
}

// clone is a copy that later outcomes do not change.
func (t Tally) clone() Tally {
	t.Backends, t.Clients, t.Failures = maps.Clone(t.Backends), maps.Clone(t.Clients), slices.Clone(t.Failures)
	return t
}

// Err is nil if every question was answered, else it wraps the kept failures.
func (t Tally) Err() error {
	if t.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d questions failed: %w", t.Failed, t.Answered+t.Failed, errors.Join(t.Failures...))
}

// String lists the backends in order of their names: "pod-a=3 pod-b=2 failed=1".
func (t Tally) String() string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(t.Backends)) {
		words = append(words, fmt.Sprintf("%s=%d", name, t.Backends[name]))
	}
	return strings.Join(append(words, fmt.Sprintf("failed=%d", t.Failed)), " ")
}
