package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
)

// lookForIPv6 is in how many readings once, without a sign of IPv6, it is looked for.
const lookForIPv6 = 10

// sightings says whether the table holds virtual servers of IPv6. They can be read by generic netlink alone, which costs
// more than all the rest; so where there were none and none were added here, not every reading looks for others'.
type sightings struct {
	expected bool
	readings int
}

// expect notes that IPv6 is to be looked for every time, if one of the operations is about it.
func (s *sightings) expect(ops []dataplane.Operation) {
	if s.expected {
		return
	}
	s.expected = slices.ContainsFunc(ops, func(op dataplane.Operation) bool {
		server, ok := op.Object.(dataplane.VirtualServer)
		return ok && server.Key.Family == dataplane.IPv6
	})
}

// due reports whether this reading has to look for IPv6.
func (s *sightings) due() bool {
	s.readings++
	return s.expected || s.readings%lookForIPv6 == 1
}

// Pools returns every virtual server of the namespace with its real servers, in the kernel's order and whoever added
// them, and the active plus inactive connections of the real servers whose weight is 0. It returns all or an error. A
// virtual server that is deleted meanwhile is left out. Between two virtual servers, other methods get their turn; what they
// change may be in the result or not. Virtual servers of IPv6 that others add to a table without any may be missed for
// some readings.
func (d *Driver) Pools(ctx context.Context) ([]dataplane.Pool, map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error) {
	found, err := d.virtualServers(ctx)
	if err != nil {
		return nil, nil, err
	}
	pools := make([]dataplane.Pool, 0, len(found))
	draining := make(counts)
	var members []destination
	all := make([]dataplane.RealServer, 0, counted(found)) // of all virtual servers: one allocation, not one for each
	for _, one := range found {
		var exists bool
		if members, exists, err = d.realServers(ctx, one, members[:0]); err != nil {
			return nil, nil, err
		}
		if !exists {
			continue
		}
		first := len(all)
		for _, member := range members {
			all = append(all, member.RealServer)
			if member.Weight == 0 {
				draining.put(one.Key, member)
			}
		}
		pools = append(pools, dataplane.Pool{VirtualServer: one.VirtualServer, RealServers: all[first:len(all):len(all)]})
	}
	return pools, draining, nil
}

// virtualServers reads the virtual servers, of IPv4 with the number of their real servers where the older interface tells.
func (d *Driver) virtualServers(ctx context.Context) ([]countedServer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read the virtual servers: %w", err)
	}
	cheap, err := d.options.virtualServers()
	if err == nil && !d.six.due() {
		return cheap, nil
	}
	all, netlinkErr := d.conn.services(ctx)
	if netlinkErr != nil {
		return nil, netlinkErr
	}
	for _, server := range all {
		if server.Key.Family == dataplane.IPv6 {
			d.six.expected = true
		}
		if server.Key.Family == dataplane.IPv6 || err != nil {
			cheap = append(cheap, countedServer{server, unknownMembers})
		}
	}
	return cheap, nil
}

// counted is how many real servers there are, as far as they are counted.
func counted(servers []countedServer) (total int) {
	for _, one := range servers {
		total += max(one.members, 0)
	}
	return total
}

// unknownMembers is the number of real servers where nothing has counted them.
const unknownMembers = -1

// realServers reads the real servers of a virtual server into a slice. If the number is not as counted, because of a
// change in between or of one that the older interface hides, generic netlink decides.
func (d *Driver) realServers(ctx context.Context, server countedServer, into []destination) (servers []destination, exists bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return into, false, fmt.Errorf("read the real servers of %s: %w", server.Key, err)
	}
	if server.members != unknownMembers {
		if servers, exists, err = d.options.realServers(server.Key, into); err == nil && exists && len(servers) == server.members {
			return servers, true, nil
		}
	}
	return d.conn.realServers(ctx, server.Key)
}

// connections reads the real servers of some virtual servers for their connections.
func (d *Driver) connections(ctx context.Context, keys []dataplane.VirtualServerKey) (counts, error) {
	found := make(counts, len(keys))
	for _, key := range keys {
		if err := errors.Join(validateKey(key), ctx.Err()); err != nil {
			return nil, fmt.Errorf("read the real servers of %s: %w", key, err)
		}
		servers, exists, err := d.options.realServers(key, nil)
		if err != nil {
			servers, exists, err = d.conn.realServers(ctx, key)
		}
		if err != nil {
			return nil, err
		}
		if !exists {
			continue
		}
		found[key] = make(map[netip.AddrPort]uint32, len(servers))
		for _, server := range servers {
			found.put(key, server)
		}
	}
	return found, nil
}
