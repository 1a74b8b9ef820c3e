package ipset

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// ensure is Driver.Ensure.
func (c *conn) ensure(ctx context.Context, sets []dataplane.Set) (repaired []string, err error) {
	present, err := c.headers(ctx)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, set := range sets {
		if err := ctx.Err(); err != nil {
			return repaired, errors.Join(append(failures, fmt.Errorf("ipset: ensure set %s: %w", set.Name, err))...)
		}
		lines, err := c.ensureOne(ctx, set, present)
		repaired = append(repaired, lines...)
		if err != nil {
			failures = append(failures, err)
		}
	}
	return repaired, errors.Join(failures...)
}

func (c *conn) ensureOne(ctx context.Context, set dataplane.Set, present map[string]header) (repaired []string, err error) {
	if err := checkSet(set); err != nil {
		return nil, err
	}
	temporary := TemporaryName(set.Name)
	if _, left := present[temporary]; left {
		if err := c.destroy(ctx, temporary); err != nil {
			return nil, err
		}
		repaired = append(repaired, fmt.Sprintf("destroyed set %s, left behind when %s was being replaced", temporary, set.Name))
	}
	have, exists := present[set.Name]
	switch {
	case !exists:
		if err := c.create(ctx, set, 0); err != nil {
			return repaired, err
		}
		return append(repaired, "created set: "+set.String()), nil
	case !sameKind(have, set):
		return repaired, &ConflictError{Set: set.Name, Found: have.String(), Wanted: kindOf(set).String()}
	}
	fault := difference(have, set)
	if fault == "" {
		return repaired, nil
	}
	set.MaxElem = max(set.MaxElem, have.set.MaxElem)
	kept, err := c.migrate(ctx, set)
	if err != nil {
		return repaired, fmt.Errorf("%s: %w", fault, err)
	}
	return append(repaired, fmt.Sprintf("replaced set %s (%s), keeping %d entries: %s", set.Name, fault, kept, set)), nil
}

// kindOf returns the header that a set as wanted would have.
func kindOf(set dataplane.Set) header {
	return header{set: set, typeName: set.Type.String(), family: familyNumber(set)}
}

func sameKind(have header, want dataplane.Set) bool {
	return have.set.Type == want.Type && (want.Type == dataplane.BitmapPort || have.family == familyNumber(want))
}

// difference says what is wrong with a set of the right kind; "" means nothing.
func difference(have header, want dataplane.Set) string {
	switch {
	case len(have.extras) > 0:
		return fmt.Sprintf("it has %v", have.extras)
	case want.Marks && !have.set.Marks:
		return "it lacks skbinfo"
	case !want.Marks && have.set.Marks:
		return "it has skbinfo"
	case have.set.MaxElem < want.MaxElem:
		return fmt.Sprintf("its maxelem is %d", have.set.MaxElem)
	}
	return ""
}

// replace is Driver.Replace.
func (c *conn) replace(ctx context.Context, set dataplane.Set) error {
	if err := checkSet(set); err != nil {
		return err
	}
	if err := c.destroy(ctx, set.Name); err != nil {
		return err
	}
	return c.create(ctx, set, unix.NLM_F_EXCL)
}

// destroy is Driver.Destroy.
func (c *conn) destroy(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	_, err := c.call(ctx, cmdDestroy, 0, "destroy set "+name, func(e *encoder) {
		e.text(attrSetName, name)
	})
	if errors.Is(err, dataplane.ErrNotExist) {
		err = nil
	}
	if err == nil {
		delete(c.types, name)
	}
	return err
}

// swap exchanges the contents and parameters of two sets of one type and family; rules go on referring to the names. A
// missing set is ErrNotExist, another type ErrConflict. It is not repeated when its answer is lost.
func (c *conn) swap(ctx context.Context, a, b string) error {
	if err := errors.Join(checkName(a), checkName(b), ctx.Err(), c.batch.Connect()); err != nil {
		return err
	}
	delete(c.types, a)
	delete(c.types, b)
	action := fmt.Sprintf("swap sets %s and %s", a, b)
	err := c.batch.Exchange(c.request(cmdSwap, 0, func(e *encoder) {
		e.text(attrSetName, a)
		e.text(attrSetName2, b)
	}), func(nlbatch.Message) error { return nil })
	if err != nil && nlbatch.RefusedWith(err) == 0 {
		err = fmt.Errorf("%w: %w", dataplane.ErrUnknown, err)
	}
	return failure(err, false, action)
}

// create makes a set. Without NLM_F_EXCL a set of the same name and parameters is fine.
func (c *conn) create(ctx context.Context, set dataplane.Set, flags uint16) error {
	revision, err := c.revision(ctx, set)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, cmdCreate, flags|unix.NLM_F_CREATE, set.String(), func(e *encoder) { encodeSet(e, set, revision) })
	if err == nil {
		c.types[set.Name] = set.Type
	}
	return err
}

// revision returns the revision of the set's type to use: the one this package was written for, or the nearest the kernel has.
func (c *conn) revision(ctx context.Context, set dataplane.Set) (uint8, error) {
	facts, _ := factsOf(set.Type)
	action := fmt.Sprintf("create %s: look up set type %s", set.Name, set.Type)
	attributes, err := c.call(ctx, cmdType, 0, action, func(e *encoder) {
		e.text(attrTypeName, set.Type.String())
		e.uint8(attrFamily, familyNumber(set))
	})
	if err != nil {
		if errors.Is(err, dataplane.ErrUnavailable) {
			err = fmt.Errorf("%w: load module %s on the node", err, facts.module)
		}
		return 0, err
	}
	newest, oldest, err := decodeRange(attributes, attrRevision, attrRevisionMin)
	if err != nil {
		return 0, fmt.Errorf("ipset: %s: %w", action, err)
	}
	return chooseRevision(facts.revision, newest, oldest), nil
}

func chooseRevision(wanted, newest, oldest uint8) uint8 { return max(min(wanted, newest), oldest) }
