package ipset

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// headers reads the headers of all sets, and remembers their types.
func (c *conn) headers(ctx context.Context) (map[string]header, error) {
	var found map[string]header
	err := c.dump(ctx, "list all sets", func(e *encoder) { e.uint32(attrFlags, flagListHeader) }, func() func(listed) error {
		found = map[string]header{}
		return func(part listed) error {
			found[part.header.set.Name] = part.header
			return nil
		}
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
	err := c.dump(ctx, "list set "+name, func(e *encoder) {
		e.text(attrSetName, name)
		e.uint32(attrFlags, flagListHeader)
	}, func() func(listed) error {
		return func(part listed) error {
			found = part.header
			return nil
		}
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
	err := c.dump(ctx, action, func(e *encoder) { e.text(attrSetName, name) }, func() func(listed) error {
		found, entries = header{}, nil
		return func(part listed) (err error) {
			if part.header.typeName != "" {
				found = part.header
				entries = slices.Grow(entries, int(min(found.elements, maxElements)))
			}
			if found.set.Type == 0 {
				return fmt.Errorf("%w: type %q is not one of the proxy's", dataplane.ErrConflict, found.typeName)
			}
			entries, err = decodeEntries(part.entries, name, entries)
			return err
		}
	})
	if err != nil {
		return header{}, nil, err
	}
	c.types[name] = found.set.Type
	return found, entries, nil
}

// dump runs one cmdList. begin is called before every attempt, and what it returns for each message of that one.
func (c *conn) dump(ctx context.Context, action string, body func(*encoder), begin func() func(listed) error) error {
	// Kernels before 4.20 tell about a missing set only when asked for an acknowledgement.
	request := c.request(cmdList, unix.NLM_F_ACK|unix.NLM_F_DUMP, body)
	err := c.batch.Read(ctx, request, func() func(nlbatch.Message) error {
		each := begin()
		return func(m nlbatch.Message) error {
			attributes, err := attributesOf(m)
			if err != nil {
				return err
			}
			part, err := decodeListed(attributes)
			if err != nil {
				return err
			}
			return each(part)
		}
	})
	return failure(err, false, action)
}
