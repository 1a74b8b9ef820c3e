package ipset

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// maxElements is how far a set is grown: far beyond any cluster, and some gigabytes of kernel memory.
const maxElements = 1 << 24

// TemporaryName returns the name of the set that stands in while the named one is replaced. It exists for moments, unless
// the process dies in between; Ensure destroys what was left behind.
func TemporaryName(set string) string {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(set))
	return fmt.Sprintf("KUBE-TMP-%016x", sum.Sum64())
}

// grow makes a set's capacity at least set.MaxElem, keeping its entries and without a moment in which the set's name
// stands for fewer. A set that is large enough already is left alone.
func (c *conn) grow(ctx context.Context, set dataplane.Set) error {
	if err := checkSet(set); err != nil {
		return err
	}
	have, err := c.header(ctx, set.Name)
	if err != nil {
		return err
	}
	if !sameKind(have, set) {
		return &ConflictError{Set: set.Name, Found: have.String(), Wanted: kindOf(set).String()}
	}
	if have.set.MaxElem >= set.MaxElem {
		return nil
	}
	if set.MaxElem > maxElements {
		return fmt.Errorf("ipset: grow set %s to %d: %w: at most %d entries", set.Name, set.MaxElem, dataplane.ErrSetFull, maxElements)
	}
	set.HashSize = max(set.HashSize, have.set.HashSize)
	if _, err = c.migrate(ctx, set); err != nil {
		return err
	}
	c.warn(fmt.Sprintf("set %s outgrew its maxelem of %d and was replaced by one with %d: kube-proxy's own "+
		"`ipset create -exist` refuses that, so run cleanup before a return to kube-proxy", set.Name, have.set.MaxElem, set.MaxElem))
	return nil
}

// migrate replaces an existing set by one of the same kind with other parameters: a temporary set takes over the entries
// and is swapped in, so that no packet sees fewer. It returns how many entries there are. On an error the set is as before.
func (c *conn) migrate(ctx context.Context, set dataplane.Set) (kept int, err error) {
	temporary := set
	temporary.Name = TemporaryName(set.Name)
	if err := c.destroy(ctx, temporary.Name); err != nil {
		return 0, err
	}
	if err := c.create(ctx, temporary, unix.NLM_F_EXCL); err != nil {
		return 0, err
	}
	kept, err = c.copy(ctx, set, temporary.Name)
	if err == nil {
		err = c.swap(ctx, temporary.Name, set.Name)
	}
	c.types[set.Name] = set.Type
	destroyed := c.destroy(context.WithoutCancel(ctx), temporary.Name)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("ipset: replace set %s: %w", set.Name, err), destroyed)
	}
	if destroyed != nil { // the set itself is right; a reader may hold the old one
		c.warn(fmt.Sprintf("replaced set %s, but its old contents stay as %s until the next check: %v", set.Name, temporary.Name, destroyed))
	}
	return kept, nil
}

// copy adds the entries of a set to another of the same kind. Entries with what no entry of ours has are left behind.
func (c *conn) copy(ctx context.Context, from dataplane.Set, to string) (int, error) {
	_, entries, err := c.contents(ctx, from.Name)
	if err != nil {
		return 0, err
	}
	operations := make([]dataplane.Operation, 0, len(entries))
	for _, entry := range entries {
		if entry.Mark == ForeignMark {
			continue
		}
		if !from.Marks {
			entry.Mark = 0
		}
		entry.Set = to
		operations = append(operations, dataplane.Operation{Verb: dataplane.Add, Object: entry})
	}
	results := make([]error, len(operations))
	c.run(ctx, operations, indices(len(operations)), results)
	return len(operations), errors.Join(results...)
}
