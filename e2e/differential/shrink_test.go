package differential

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// has reports whether a case writes an object that has a text in it.
func hasText(c Case, key, text string) bool {
	return slices.ContainsFunc(slices.Concat(c.Steps...), func(op Op) bool { return op.Key() == key && strings.Contains(op.String(), text) })
}

func TestShrinkFindsWhatMatters(t *testing.T) {
	for seed := range uint64(3) {
		c := generate(t, seed, usual)
		c.Steps[1] = append(c.Steps[1], aService(400, exposed(400), sticky(60)))
		c.Steps[2] = append(c.Steps[2], aSlice(400, 0, "IPv4", aPod(1, 0, "IPv4"), aPod(2, 1, "IPv4"), aPod(2, 2, "IPv4")))
		tries := 0
		got := Shrink(c, func(c Case) (bool, error) {
			tries++
			return hasText(c, "Service/s400", "198.18.2.10") && hasText(c, "EndpointSlice/s400-0-v4", "10.244.2.17"), nil
		})
		if got.Len() != 2 || len(got.Steps) != 1 {
			t.Fatalf("seed %d: %d writes in %d steps are left, want 2 in 1:\n%s", seed, got.Len(), len(got.Steps), got)
		}
		for _, gone := range []string{"sessionAffinity", "10.244.1.16", "10.244.2.18", "2001:db8:18:", "type: LoadBalancer"} {
			if strings.Contains(got.String(), gone) {
				t.Errorf("seed %d: %q is left", seed, gone)
			}
		}
		if tries > 150 {
			t.Errorf("seed %d took %d tries", seed, tries)
		}
	}
}

// A difference that needs two steps keeps them, in order.
func TestShrinkKeepsStepsThatMatter(t *testing.T) {
	c := generate(t, 3, usual)
	first, second := aService(400), aService(400, ofType(400, "NodePort"))
	c.Steps[0], c.Steps[3] = append(c.Steps[0], first), append(c.Steps[3], second)
	got := Shrink(c, func(c Case) (bool, error) {
		for i, step := range c.Steps {
			if hasText(Case{Steps: [][]Op{step}}, "Service/s400", "nodePort") {
				return hasText(Case{Steps: c.Steps[:i]}, "Service/s400", "clusterIP"), nil
			}
		}
		return false, nil
	})
	if got.Len() != 2 || len(got.Steps) != 2 {
		t.Errorf("left is %s", got)
	}
}

func TestShrinkStopsWhenTold(t *testing.T) {
	c, tries := generate(t, 5, usual), 0
	got := Shrink(c, func(Case) (bool, error) {
		if tries++; tries > 2 {
			return false, errors.New("time is up")
		}
		return true, nil
	})
	if tries != 3 || got.Len() >= c.Len() || got.Len() == 0 {
		t.Errorf("%d tries left %d of %d writes", tries, got.Len(), c.Len())
	}
}

func TestAboutKeepsWhatIsOfTheSameServices(t *testing.T) {
	c := Case{Steps: [][]Op{{aService(1), aService(2), aSlice(2, 0, "IPv4")}, {aService(1)}, {aService(2, single)}}}
	got := About(c, []Difference{{Item: Item{VirtualServer, "-t 10.96.10.12:80", "-s rr"}}})
	if got.Len() != 3 || len(got.Steps) != 2 || hasText(got, "Service/s1", "") {
		t.Errorf("kept:\n%s", got)
	}
	if got := About(c, []Difference{{Item: Item{Address, "", "192.0.2.1/32"}}}); got.Len() != c.Len() {
		t.Errorf("kept %d of %d writes, want all when nobody is to blame", got.Len(), c.Len())
	}
}
