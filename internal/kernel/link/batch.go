package link

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// exchange carries out operations on addresses of the device with the given index, and returns the result of each.
func (c *conn) exchange(ctx context.Context, index int, ops []dataplane.Operation) []error {
	results := c.batch.Batch(ctx, len(ops), func(b []byte, i int) []byte {
		return appendAddressRequest(b, ops[i].Verb, index, ops[i].Object.(dataplane.Address).Addr)
	})
	for i, err := range results {
		results[i] = answer(ops[i].Verb, err)
	}
	return results
}

// answer judges the kernel's answer to one request.
func answer(verb dataplane.Verb, err error) error {
	switch {
	case err == nil:
		return nil
	case verb == dataplane.Add && errors.Is(err, unix.EEXIST):
		return nil
	case verb == dataplane.Delete && (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(typed(err), dataplane.ErrNotExist)):
		return nil
	}
	return typed(err)
}
