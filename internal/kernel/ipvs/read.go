package ipvs

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// counts are the active plus inactive connections of real servers, by virtual server.
type counts map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32

func (c counts) put(key dataplane.VirtualServerKey, server destination) {
	if c[key] == nil {
		c[key] = make(map[netip.AddrPort]uint32)
	}
	c[key][server.Addr] = server.connections
}

// pools reads all virtual servers and what is behind each. The kernel gives up its lock between the datagrams of a dump,
// so an object that others add or delete meanwhile can be missing or come twice.
func (c *conn) pools(ctx context.Context) ([]dataplane.Pool, counts, error) {
	services, err := query(ctx, c, getService, unix.NLM_F_DUMP, nil, decodeService)
	if err != nil {
		return nil, nil, fmt.Errorf("read the virtual servers: %w", err)
	}
	pools := make([]dataplane.Pool, 0, len(services))
	draining := make(counts)
	known := make(map[dataplane.VirtualServerKey]bool, len(services))
	for _, service := range services {
		if known[service.Key] {
			continue
		}
		known[service.Key] = true
		servers, exists, err := c.realServers(ctx, service.Key)
		if err != nil {
			return nil, nil, err
		}
		if !exists {
			continue
		}
		pool := dataplane.Pool{VirtualServer: service, RealServers: make([]dataplane.RealServer, 0, len(servers))}
		for _, server := range servers {
			pool.RealServers = append(pool.RealServers, server.RealServer)
			if server.Weight == 0 {
				draining.put(service.Key, server)
			}
		}
		pools = append(pools, pool)
	}
	return pools, draining, nil
}

// connections reads the real servers of some virtual servers for their connections.
func (c *conn) connections(ctx context.Context, keys []dataplane.VirtualServerKey) (counts, error) {
	found := make(counts, len(keys))
	for _, key := range keys {
		if err := validateKey(key); err != nil {
			return nil, fmt.Errorf("read the real servers of %s: %w", key, err)
		}
		servers, exists, err := c.realServers(ctx, key)
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

// realServers reads what is behind a virtual server, each real server once. The kernel answers a dump for a virtual
// server that is not there like one for an empty one, so of an empty answer it asks whether the virtual server exists.
func (c *conn) realServers(ctx context.Context, key dataplane.VirtualServerKey) (servers []destination, exists bool, err error) {
	identify := func(b []byte) []byte { return appendService(b, key) }
	servers, err = query(ctx, c, getDest, unix.NLM_F_DUMP, identify, func(body []byte) (destination, error) {
		return decodeDest(body, key.Family)
	})
	if err == nil && len(servers) == 0 {
		_, err = query(ctx, c, getService, unix.NLM_F_ACK, identify, decodeService)
	}
	switch {
	case refusedWith(err) == unix.ESRCH:
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read the real servers of %s: %w", key, err)
	}
	return unique(servers), true, nil
}

// unique keeps the first of real servers with the same address, in place.
func unique(servers []destination) []destination {
	known := make(map[netip.AddrPort]bool, len(servers))
	kept := servers[:0]
	for _, server := range servers {
		if !known[server.Addr] {
			known[server.Addr] = true
			kept = append(kept, server)
		}
	}
	return kept
}
