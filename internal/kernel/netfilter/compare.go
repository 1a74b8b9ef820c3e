package netfilter

import (
	"fmt"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// change is what has to be done to one table, as lines of iptables-restore in the order in which they must come.
type change struct {
	declare []string // ":NAME - [0:0]": create, or empty if there
	remove  []string // "-D …"
	fill    []string // "-A …"
	insert  []string // "-I …"
	destroy []string // "-X …"
	because []string // one line for each thing that is wrong
}

func (c change) empty() bool { return len(c.because) == 0 }

// text returns the change as input of iptables-restore.
func (c change) text(name dataplane.Table) string {
	lines := slices.Concat([]string{"*" + string(name)}, c.declare, c.remove, c.fill, c.insert, c.destroy, []string{"COMMIT"})
	return strings.Join(lines, "\n") + "\n"
}

// rewrite makes the chain hold exactly these rules.
func (c *change) rewrite(name string, rules []string) {
	c.declare = append(c.declare, ":"+name+" - [0:0]")
	c.fill = append(c.fill, rules...)
}

// compare returns what leads from what is there to what is wanted.
func compare(want table, have savedTable) change {
	var c change
	for _, w := range want.chains {
		rules, exists := have.chains[w.name]
		switch {
		case !exists:
			c.because = append(c.because, fmt.Sprintf("chain %s was missing", w.name))
		case !slices.Equal(rules, w.rules):
			c.because = append(c.because, fmt.Sprintf("chain %s differed: %s", w.name, difference(w.rules, rules)))
		default:
			continue
		}
		c.rewrite(w.name, w.rules)
	}
	for _, from := range origins(want.jumps) {
		c.compareJumps(jumpsFrom(want.jumps, from), have.chains[from])
	}
	return c
}

// difference describes the first rule at which two chains part.
func difference(want, have []string) string {
	for i, w := range want {
		if i >= len(have) {
			return fmt.Sprintf("%d of %d rules, lacked %q", len(have), len(want), w)
		}
		if have[i] != w {
			return fmt.Sprintf("rule %d was %q", i+1, have[i])
		}
	}
	return fmt.Sprintf("%d surplus rules, first %q", len(have)-len(want), have[len(want)])
}

func origins(jumps []jump) []string {
	var froms []string
	for _, j := range jumps {
		if !slices.Contains(froms, j.from) {
			froms = append(froms, j.from)
		}
	}
	return froms
}

func jumpsFrom(jumps []jump, from string) []jump {
	return slices.DeleteFunc(slices.Clone(jumps), func(j jump) bool { return j.from != from })
}

// compareJumps brings the jumps out of one built-in chain into place. Each is prepended, so a wanted jump has to come
// before the one wanted ahead of it. What already stands so stays where it is, whatever comment it carries; from the
// first that does not, the rest is taken out and put on top again, in the same commit. Where our jumps stand among
// others' rules does not matter: CNI plugins prepend theirs too, and there would be no end to it.
func (c *change) compareJumps(want []jump, have []string) {
	above := len(have)
	moving := false
	for _, w := range want {
		found := standing(have, w)
		if wrong := found.wrong(above, moving); wrong != "" {
			c.because = append(c.because, fmt.Sprintf("jump %s to %s was %s", w.from, w.to, wrong))
			moving = true
		}
		if !moving {
			above = found[0].place
			continue
		}
		for _, j := range found.movable() {
			c.remove = append(c.remove, "-D"+strings.TrimPrefix(j.line, "-A"))
		}
		c.insert = append(c.insert, "-I"+strings.TrimPrefix(w.line, "-A"))
	}
}

// present are the unconditional jumps that lead where a wanted one leads, in order.
type present []standingJump

type standingJump struct {
	place int
	line  string
	own   bool // exactly as we write it, not only with the same effect
}

func standing(rules []string, want jump) present {
	var found present
	for i, line := range rules {
		if target, ok := bareJump(line); ok && target == want.to {
			found = append(found, standingJump{place: i, line: line, own: line == want.line})
		}
	}
	return found
}

// wrong says what is to be repaired, or nothing. A repetition with a comment of its own may be there on purpose.
func (p present) wrong(above int, moving bool) string {
	if len(p) == 0 {
		return "missing"
	}
	for _, j := range p[1:] {
		if j.own {
			return "there more than once"
		}
	}
	if !moving && p[0].place >= above {
		return "out of order"
	}
	return ""
}

// movable are those that make room for the jump put on top anew: the first one, and all of exactly our own.
func (p present) movable() present {
	var gone present
	for i, j := range p {
		if i == 0 || j.own {
			gone = append(gone, j)
		}
	}
	return gone
}
