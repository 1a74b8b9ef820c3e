package ipset

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// Ensure makes the sets exist with at least the wanted parameters, and returns a line for each set that it created or
// replaced. Entries are kept. Of parameters, hashsize is left as it is, because it grows with the set, and a larger
// maxelem too. Every set is tried; the errors are joined. A set of another type or family in the way is a ConflictError.
func (d *Driver) Ensure(ctx context.Context, sets []dataplane.Set) (repaired []string, err error) {
	present, err := d.headers(ctx)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, set := range sets {
		if err := ctx.Err(); err != nil {
			return repaired, errors.Join(append(failures, fmt.Errorf("ipset: ensure set %s: %w", set.Name, err))...)
		}
		lines, err := d.ensure(ctx, set, present)
		repaired = append(repaired, lines...)
		if err != nil {
			failures = append(failures, err)
		}
	}
	return repaired, errors.Join(failures...)
}

func (d *Driver) ensure(ctx context.Context, set dataplane.Set, present map[string]header) (repaired []string, err error) {
	if err := checkSet(set); err != nil {
		return nil, err
	}
	temporary := TemporaryName(set.Name)
	if _, left := present[temporary]; left {
		if err := d.Destroy(ctx, temporary); err != nil {
			return nil, err
		}
		repaired = append(repaired, fmt.Sprintf("destroyed set %s, left behind when %s was being replaced", temporary, set.Name))
	}
	have, exists := present[set.Name]
	switch {
	case !exists:
		if err := d.create(ctx, set, 0); err != nil {
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
	kept, err := d.migrate(ctx, set)
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

// Replace destroys a set that Ensure reported as a ConflictError, with its entries, and creates the wanted one. It fails
// with EBUSY while a rule refers to the set.
func (d *Driver) Replace(ctx context.Context, set dataplane.Set) error {
	if err := checkSet(set); err != nil {
		return err
	}
	if err := d.Destroy(ctx, set.Name); err != nil {
		return err
	}
	return d.create(ctx, set, unix.NLM_F_EXCL)
}

// Destroy removes a set and its entries; a set that is not there is fine. It fails with EBUSY while a rule, another set
// or a reader refers to it.
func (d *Driver) Destroy(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	_, err := d.call(ctx, cmdDestroy, unix.NLM_F_REQUEST|unix.NLM_F_ACK, "destroy set "+name, func(e *encoder) {
		e.text(attrSetName, name)
	})
	if errors.Is(err, dataplane.ErrNotExist) {
		err = nil
	}
	if err == nil {
		delete(d.types, name)
	}
	return err
}

// Swap exchanges the contents and parameters of two sets of one type and family; rules go on referring to the names. A
// missing set is ErrNotExist, another type ErrConflict.
func (d *Driver) Swap(ctx context.Context, a, b string) error {
	return d.twoNames(ctx, cmdSwap, "swap sets", a, b)
}

// Rename gives a set that nothing refers to a new name. A missing set is ErrNotExist, a taken name ErrConflict, a
// reference EBUSY.
func (d *Driver) Rename(ctx context.Context, from, to string) error {
	return d.twoNames(ctx, cmdRename, "rename set", from, to)
}

// twoNames sends a command that must not be repeated when its answer is lost.
func (d *Driver) twoNames(ctx context.Context, command uint8, verb, a, b string) error {
	if err := errors.Join(checkName(a), checkName(b), ctx.Err(), d.connect()); err != nil {
		return err
	}
	delete(d.types, a)
	delete(d.types, b)
	action := fmt.Sprintf("%s %s and %s", verb, a, b)
	_, err := d.callOnce(command, unix.NLM_F_REQUEST|unix.NLM_F_ACK, action, func(e *encoder) {
		e.text(attrSetName, a)
		e.text(attrSetName2, b)
	})
	var failed *lostError
	if errors.As(err, &failed) {
		err = errors.Join(err, d.Close())
	}
	return inAction(err, action)
}

// create makes a set. Without NLM_F_EXCL a set of the same name and parameters is fine.
func (d *Driver) create(ctx context.Context, set dataplane.Set, flags uint16) error {
	revision, err := d.revision(ctx, set)
	if err != nil {
		return err
	}
	flags |= unix.NLM_F_REQUEST | unix.NLM_F_ACK | unix.NLM_F_CREATE
	_, err = d.call(ctx, cmdCreate, flags, set.String(), func(e *encoder) { encodeSet(e, set, revision) })
	if err == nil {
		d.types[set.Name] = set.Type
	}
	return err
}

// revision returns the revision of the set's type to use: the one this package was written for, or the nearest the kernel has.
func (d *Driver) revision(ctx context.Context, set dataplane.Set) (uint8, error) {
	facts, _ := factsOf(set.Type)
	action := fmt.Sprintf("create %s: look up set type %s", set.Name, set.Type)
	attributes, err := d.call(ctx, cmdType, unix.NLM_F_REQUEST, action, func(e *encoder) {
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
