package netfilter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// recentFor is how long what the programs printed while the variant was looked for counts as just read.
const recentFor = 5 * time.Second

// candidate is one variant with the programs found, and what the host has in it.
type candidate struct {
	variant      string
	tools        map[dataplane.Family]tools
	hint, canary bool
	kube, rules  int
	found        map[dataplane.Family]reading // of families that could be read
}

// reading is what iptables-save printed, or would have.
type reading struct {
	text string
	at   time.Time
}

// alike reports whether all candidates serve the same families.
func alike(candidates []candidate) bool {
	return !slices.ContainsFunc(candidates, func(c candidate) bool { return len(c.tools) != len(candidates[0].tools) })
}

// settle waits until the variant is known.
func (d *Driver) settle() {
	if d.choice == nil {
		return
	}
	chosen := d.choice()
	d.choice = nil
	d.adopt(chosen)
	d.readings = chosen.found
}

// recent returns, once, what the family was found to have, if that was just now.
func (d *Driver) recent(family dataplane.Family) (text string, ok bool) {
	r, ok := d.readings[family]
	delete(d.readings, family)
	return r.text, ok && d.options.Now().Sub(r.at) < recentFor
}

// detect begins to look what the host has in each variant. What it returns waits for that, and returns the one it uses. A
// variant that cannot be read is one that the kernel does not have, so it has nothing in it.
func (d *Driver) detect(ctx context.Context, candidates []candidate) func() candidate {
	looks := make([]func() candidate, len(candidates))
	for i, c := range candidates {
		if c.variant == Plain {
			looks[i] = func() candidate { return c } // the same as one of the others
		} else {
			looks[i] = d.look(ctx, c)
		}
	}
	return func() candidate {
		for i, look := range looks {
			candidates[i] = look()
		}
		best := candidates[0]
		for _, c := range candidates[1:] {
			if c.better(best) {
				best = c
			}
		}
		if best.variant == Plain {
			best.found = nothingIn(candidates)
		}
		return best
	}
}

// nothingIn returns the readings of families that have nothing in any variant. The plain programs are one of the others, but
// it is not known which.
func nothingIn(candidates []candidate) map[dataplane.Family]reading {
	empty := make(map[dataplane.Family]reading)
	for _, f := range dataplane.Families() {
		var oldest reading
		variants := 0
		for _, c := range candidates {
			r, known := c.found[f]
			if !known || r.text != "" {
				continue
			}
			if variants++; variants == 1 || r.at.Before(oldest.at) {
				oldest = r
			}
		}
		if variants == 2 { // Legacy and NFT
			empty[f] = oldest
		}
	}
	return empty
}

// look begins to read a variant, and returns what waits for the result. It reads everything rather than table mangle alone:
// asking iptables-legacy for a table by name would create it.
func (d *Driver) look(ctx context.Context, c candidate) func() candidate {
	c.found = make(map[dataplane.Family]reading)
	waits := make(map[dataplane.Family]func() (string, error))
	now := d.options.Now()
	for _, f := range dataplane.Families() {
		t, ok := c.tools[f]
		switch {
		case !ok:
		case d.unused(ctx, c.variant, f):
			c.found[f] = reading{at: now}
		default:
			waits[f] = d.start(ctx, Command{Path: t.save})
		}
	}
	return func() candidate {
		for f, wait := range waits {
			text, err := wait()
			if err != nil {
				continue
			}
			c.found[f] = reading{text, now}
			for line := range strings.SplitSeq(text, "\n") {
				c.count(line)
			}
		}
		return c
	}
}

// unused reports whether it is certain that a variant has nothing in a family, so that its programs would print nothing.
func (d *Driver) unused(ctx context.Context, variant string, family dataplane.Family) bool {
	if variant == Legacy {
		return d.legacyUnused(family)
	}
	if d.options.Tables == nil {
		return false
	}
	some, err := d.options.Tables(ctx, family)
	return err == nil && !some
}

// legacyUnused reports whether iptables-legacy has no tables. The kernel lists them in a file that exists while the module
// of the family is loaded (xt_proto_init in net/netfilter/x_tables.c).
func (d *Driver) legacyUnused(family dataplane.Family) bool {
	name := "ip_tables_names"
	if family == dataplane.IPv6 {
		name = "ip6_tables_names"
	}
	names, err := os.ReadFile(filepath.Join(d.options.ProcNet, name))
	return errors.Is(err, os.ErrNotExist) || err == nil && len(names) == 0
}

// HasTables reports whether nf_tables has any table of the family in the calling thread's network namespace, whoever made
// it. It fails when the kernel does not say, as without nf_tables.
func HasTables(ctx context.Context, family dataplane.Family) (bool, error) {
	names, err := tableNames(ctx, family)
	return len(names) > 0, err
}

func (c *candidate) count(line string) {
	name, _, _ := strings.Cut(strings.TrimPrefix(line, ":"), " ")
	switch {
	case strings.HasPrefix(line, "-A "):
		c.rules++
	case !strings.HasPrefix(line, ":KUBE-"):
	case name == hintChain:
		c.hint = true
	case name == canaryChain:
		c.canary = true
	default:
		c.kube++
	}
}

// better reports whether the candidate is the one to use rather than another.
func (c candidate) better(than candidate) bool {
	switch {
	case c.hint != than.hint:
		return c.hint
	case c.canary != than.canary:
		return c.canary
	case c.kube != than.kube:
		return c.kube > than.kube
	}
	return c.rules > than.rules
}
