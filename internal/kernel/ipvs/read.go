package ipvs

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// counts are the active plus inactive connections of real servers, by virtual server.
type counts map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32

func (c counts) put(key dataplane.VirtualServerKey, server destination) {
	if c[key] == nil {
		c[key] = make(map[netip.AddrPort]uint32)
	}
	c[key][server.Addr] = server.connections
}

// services reads all virtual servers, each once. The kernel gives up its lock between the datagrams of a dump, so one that
// somebody else adds or deletes meanwhile can make another be missing or come twice.
func (c *conn) services(ctx context.Context) ([]dataplane.VirtualServer, error) {
	all, err := query(ctx, c, getService, unix.NLM_F_DUMP, nothing, decodeService)
	if err != nil {
		return nil, fmt.Errorf("read the virtual servers: %w", err)
	}
	return unique(all, func(v dataplane.VirtualServer) dataplane.VirtualServerKey { return v.Key }), nil
}

// realServers reads what is behind a virtual server, each real server once. The kernel answers a dump for a virtual
// server that is not there like one for an empty one, so of an empty answer it asks whether the virtual server exists.
func (c *conn) realServers(ctx context.Context, key dataplane.VirtualServerKey) (servers []destination, exists bool, err error) {
	identify := func(b []byte) []byte { return appendService(b, key) }
	servers, err = query(ctx, c, getDest, unix.NLM_F_DUMP, identify, func(body []byte) (destination, error) {
		return decodeDest(body, key.Family)
	})
	if err == nil && len(servers) == 0 {
		_, err = query(ctx, c, getService, 0, identify, decodeService)
	}
	switch {
	case nlbatch.RefusedWith(err) == unix.ESRCH:
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read the real servers of %s: %w", key, err)
	}
	return unique(servers, func(d destination) netip.AddrPort { return d.Addr }), true, nil
}

// unique keeps the first of those with the same key, in place.
func unique[T any, K comparable](all []T, keyOf func(T) K) []T {
	known := make(map[K]bool, len(all))
	kept := all[:0]
	for _, one := range all {
		if key := keyOf(one); !known[key] {
			known[key] = true
			kept = append(kept, one)
		}
	}
	return kept
}
