package ipvs

import (
	"context"
	"fmt"

	"kube-ipvs-proxy/internal/dataplane"
)

// Order returns the keys of all virtual servers in the order in which the kernel lists both families together. One that is
// added or deleted meanwhile can make another be missing.
func (d *Driver) Order(ctx context.Context) ([]dataplane.VirtualServerKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read the virtual servers: %w", err)
	}
	all, err := d.conn.services(ctx)
	if err != nil {
		return nil, err
	}
	keys := make([]dataplane.VirtualServerKey, len(all))
	for i, server := range all {
		keys[i] = server.Key
	}
	return keys, nil
}
