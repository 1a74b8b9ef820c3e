package sysctl

import (
	"strings"
	"testing"
)

// What Apply would set is what Compare finds, and nothing else.
func TestCompareFindsWhatApplySets(t *testing.T) {
	wrong := map[string]int{}
	for name, value := range right() {
		if !strings.Contains(name, "bridge") && !strings.Contains(name, "ipv6") && !strings.Contains(name, "reuse") {
			wrong[name] = value - 1
		}
	}
	for release, more := range map[string]int{"6.12.0": 0, "5.4.0": 1} { // conn_reuse_mode, P07
		s := newSystem(t, release, wrong)
		wanted := s.Wanted(full())
		deviations := s.Compare(wanted)
		changed, _ := apply(t, s, full())
		if len(changed) != len(deviations) || len(changed) != len(wrong)+more {
			t.Errorf("kernel %s: Apply changes %q, Compare found %v", release, changed, deviations)
		}
		for i, d := range deviations {
			if i < len(changed) && !strings.HasPrefix(changed[i], d.Name+": ") || d.Err != nil {
				t.Errorf("kernel %s: found %+v", release, d)
			}
		}
		if left := s.Compare(wanted); len(left) > 0 {
			t.Errorf("kernel %s: after Apply Compare finds %v", release, left)
		}
	}
}
