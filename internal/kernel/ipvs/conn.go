package ipvs

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// conn carries requests to IPVS, whose number among the generic-netlink families it keeps up to date.
type conn struct {
	batch  *nlbatch.Conn
	family uint16 // 0: not known
}

func newConn(dial nlbatch.Dial) *conn { return &conn{batch: nlbatch.New(dial)} }

// ready makes sure that there is a socket and that the family is known.
func (c *conn) ready(ctx context.Context) error {
	if c.family != 0 {
		return c.batch.Connect()
	}
	_, err := c.resolve(ctx)
	return err
}

// resolve asks for the number of the IPVS family, which changes when the module is loaded anew, and reports whether it
// differs from the one known.
func (c *conn) resolve(ctx context.Context) (changed bool, err error) {
	before := c.family
	c.family = 0
	ids, err := nlbatch.Query(ctx, c.batch, func(b []byte) []byte {
		return nlbatch.String(begin(b, unix.GENL_ID_CTRL, unix.CTRL_CMD_GETFAMILY, 0), unix.CTRL_ATTR_FAMILY_NAME, familyName)
	}, decodeFamily)
	switch {
	case nlbatch.RefusedWith(err) == unix.ENOENT: // the errno without the refusal: it is not about what was asked of IPVS
		return false, fmt.Errorf("IPVS is %w: load the module ip_vs: modprobe ip_vs (%w)", dataplane.ErrUnavailable, unix.ENOENT)
	case err != nil:
		return false, fmt.Errorf("ask for the netlink family of IPVS: %w", err)
	case len(ids) != 1:
		return false, fmt.Errorf("ask for the netlink family of IPVS: %w: %d answers", nlbatch.ErrMalformed, len(ids))
	}
	c.family = ids[0]
	return c.family != before, nil
}

func decodeFamily(m nlbatch.Message) (uint16, error) {
	body, err := genericBody(m.Payload)
	if err != nil {
		return 0, err
	}
	data, _, err := nlbatch.FindAttribute(body, unix.CTRL_ATTR_FAMILY_ID)
	if err != nil {
		return 0, err
	}
	return uint16Of(unix.CTRL_ATTR_FAMILY_ID, data)
}

// query sends one request and decodes the answers, all or none. With unix.NLM_F_DUMP among the flags it reads a table. If
// the module was loaded anew since the family was resolved, the request is sent once more.
func query[T any](ctx context.Context, c *conn, command uint8, flags uint16, fill func([]byte) []byte,
	decode func([]byte) (T, error)) (answers []T, err error) {
	for again := true; ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := c.ready(ctx); err != nil {
			return nil, err
		}
		answers, err = nlbatch.Query(ctx, c.batch, func(b []byte) []byte {
			return fill(begin(b, c.family, command, flags))
		}, func(m nlbatch.Message) (one T, err error) {
			body, err := genericBody(m.Payload)
			if err != nil {
				return one, err
			}
			return decode(body)
		})
		if !again || nlbatch.RefusedWith(err) != unix.ENOENT { // no read answers so, but an unloaded family does
			return answers, requestError(err)
		}
		if again, err = c.resolve(ctx); err != nil {
			return nil, err
		}
	}
}

func nothing(b []byte) []byte { return b }
