package ipset

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// headers reads the headers of all sets, and remembers their types.
func (c *conn) headers(ctx context.Context) (map[string]header, error) {
	var found map[string]header
	err := c.dump(ctx, "list all sets", func() { found = map[string]header{} },
		func(e *encoder) { e.uint32(attrFlags, flagListHeader) },
		func(part listed) error {
			found[part.header.set.Name] = part.header
			return nil
		})
	if err != nil {
		return nil, err
	}
	clear(c.types)
	for name, h := range found {
		c.types[name] = h.set.Type
	}
	return found, nil
}

// header reads the header of one set. A set that is missing is ErrNotExist.
func (c *conn) header(ctx context.Context, name string) (header, error) {
	var found header
	err := c.dump(ctx, "list set "+name, func() { found = header{} }, func(e *encoder) {
		e.text(attrSetName, name)
		e.uint32(attrFlags, flagListHeader)
	}, func(part listed) error {
		found = part.header
		return nil
	})
	if err != nil {
		return header{}, err
	}
	c.types[name] = found.set.Type
	return found, nil
}

// contents reads one set whole.
func (c *conn) contents(ctx context.Context, name string) (header, []dataplane.Entry, error) {
	action := "list set " + name
	if err := checkName(name); err != nil {
		return header{}, nil, err
	}
	var found header
	var entries []dataplane.Entry
	err := c.dump(ctx, action, func() { found, entries = header{}, nil }, func(e *encoder) { e.text(attrSetName, name) },
		func(part listed) (err error) {
			if part.header.typeName != "" {
				found = part.header
				entries = slices.Grow(entries, int(min(found.elements, maxElements)))
			}
			if found.set.Type == 0 {
				return fmt.Errorf("%w: type %q is not one of the proxy's", dataplane.ErrConflict, found.typeName)
			}
			entries, err = decodeEntries(part.entries, name, entries)
			return err
		})
	if err != nil {
		return header{}, nil, err
	}
	c.types[name] = found.set.Type
	return found, entries, nil
}

// dump runs one cmdList. reset empties what each has filled: it is called before every attempt.
func (c *conn) dump(ctx context.Context, action string, reset func(), body func(*encoder), each func(listed) error) error {
	err := c.try(ctx, func() error {
		reset()
		return c.dumpOnce(action, body, each)
	})
	return inAction(err, action)
}

func (c *conn) dumpOnce(action string, body func(*encoder), each func(listed) error) error {
	// Kernels before 4.20 tell about a missing set only when asked for an acknowledgement.
	const flags = unix.NLM_F_REQUEST | unix.NLM_F_ACK | unix.NLM_F_DUMP
	err := c.exchange(cmdList, flags, action, body, func(r reply) (bool, error) {
		if r.kind == unix.NLMSG_DONE {
			return true, nil
		}
		if r.flags&unix.NLM_F_DUMP_INTR != 0 {
			return false, &lostError{unix.EINTR}
		}
		attributes, err := r.attributes()
		if err != nil {
			return false, err
		}
		part, err := decodeListed(attributes)
		if err != nil {
			return false, err
		}
		return false, each(part)
	})
	var refused *Error
	if err != nil && !errors.As(err, &refused) {
		// The rest of the dump is still to come: a new socket is rid of it.
		err = errors.Join(err, c.close())
	}
	return err
}
