package ipvs

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// Usage calls visit for each of the given virtual servers that is there, with what it has counted and its real servers,
// which are visit's until it returns. Between two virtual servers other methods get their turn. On an error some may have
// been visited. Kernels before 4.1 count connections and packets modulo 2^32.
func (d *Driver) Usage(ctx context.Context, keys []dataplane.VirtualServerKey, visit func(dataplane.VirtualServerKey, dataplane.Usage)) error {
	tallies, err := d.tallies(ctx, keys)
	if err != nil {
		return err
	}
	return d.visitUsage(ctx, keys, visit, func(key dataplane.VirtualServerKey) (tally, bool, error) {
		one, exists := tallies[key]
		return one, exists, nil
	})
}

// UsageOfFew is Usage, but reads of the kernel nothing about other virtual servers: each of the given ones is asked for.
func (d *Driver) UsageOfFew(ctx context.Context, keys []dataplane.VirtualServerKey, visit func(dataplane.VirtualServerKey, dataplane.Usage)) error {
	return d.visitUsage(ctx, keys, visit, func(key dataplane.VirtualServerKey) (tally, bool, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		traffic, exists, err := d.conn.traffic(ctx, key)
		return tally{traffic, unknownMembers}, exists, err
	})
}

// visitUsage calls visit for each of the virtual servers that has a tally, with that and its real servers.
func (d *Driver) visitUsage(ctx context.Context, keys []dataplane.VirtualServerKey, visit func(dataplane.VirtualServerKey, dataplane.Usage),
	tallyOf func(dataplane.VirtualServerKey) (tally, bool, error)) error {
	var members []destination
	var loads []dataplane.Load
	for _, key := range keys {
		one, exists, err := tallyOf(key)
		if err != nil {
			return err
		}
		if !exists {
			continue
		}
		server := countedServer{VirtualServer: dataplane.VirtualServer{Key: key}, members: one.members}
		if members, exists, err = d.realServers(ctx, server, members[:0]); err != nil {
			return err
		}
		if !exists {
			continue
		}
		loads = loads[:0]
		for _, m := range members {
			loads = append(loads, dataplane.Load{RealServer: m.RealServer, Active: m.active, Inactive: m.connections - m.active})
		}
		visit(key, dataplane.Usage{Traffic: one.Traffic, Servers: loads})
	}
	return nil
}

// tally is what a virtual server has counted.
type tally struct {
	dataplane.Traffic
	members int // number of real servers, as the older interface tells; else unknownMembers
}

// shortest is the length in bytes of the shortest packet that IPVS counts: an IPv4 header.
const shortest = 20

// cut reports whether numbers of connections and packets may lack their upper half, which the older interface does not
// tell. They have none as long as all bytes together are too few for so many packets; a connection has one at least.
func (t tally) cut() bool {
	return t.members != unknownMembers && max(t.InBytes, t.OutBytes) >= shortest<<32
}

// tallies reads what virtual servers have counted. Those of the given keys that exist are among them.
func (d *Driver) tallies(ctx context.Context, keys []dataplane.VirtualServerKey) (map[dataplane.VirtualServerKey]tally, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read the counters of the virtual servers: %w", err)
	}
	found, err := d.options.tallies()
	cheap := err == nil
	six := slices.ContainsFunc(keys, func(k dataplane.VirtualServerKey) bool { return k.Family == dataplane.IPv6 })
	if six || !cheap {
		if found, err = d.conn.addTallies(ctx, found, cheap); err != nil {
			return nil, err
		}
	}
	for _, key := range keys {
		one, exists := found[key]
		// The older interface has told of all at one moment; a dump can leave one out.
		if exists && !one.cut() || !exists && cheap && key.Family == dataplane.IPv4 {
			continue
		}
		if one.Traffic, exists, err = d.conn.traffic(ctx, key); err != nil {
			return nil, err
		}
		if !exists {
			delete(found, key)
			continue
		}
		if !cheap || key.Family == dataplane.IPv6 {
			one.members = unknownMembers
		}
		found[key] = one
	}
	return found, nil
}

// tallies reads what all virtual servers of IPv4 have counted, as it is at one moment.
func (t *optionTable) tallies() (map[dataplane.VirtualServerKey]tally, error) {
	entries, err := t.serviceEntries()
	if err != nil {
		return nil, err
	}
	found := make(map[dataplane.VirtualServerKey]tally)
	for ; len(entries) >= serviceEntry && !vacant(entries[:serviceEntry]); entries = entries[serviceEntry:] {
		server, err := decodeServiceEntry(entries[:serviceEntry])
		if err != nil {
			return nil, err
		}
		found[server.Key] = tally{decodeStats(entries[serviceStats:serviceEntry]), server.members}
	}
	return found, nil
}

// serviceStats is where struct ip_vs_stats_user begins in a serviceEntry.
const serviceStats = 48

// decodeStats reads a struct ip_vs_stats_user, as far as it is about totals.
func decodeStats(b []byte) dataplane.Traffic {
	order := binary.NativeEndian
	return dataplane.Traffic{
		Connections: uint64(order.Uint32(b)),
		InPackets:   uint64(order.Uint32(b[4:])),
		OutPackets:  uint64(order.Uint32(b[8:])),
		InBytes:     order.Uint64(b[16:]),
		OutBytes:    order.Uint64(b[24:]),
	}
}

// counters are what a virtual server has counted, as generic netlink tells.
type counters struct {
	key dataplane.VirtualServerKey
	dataplane.Traffic
}

// addTallies adds those of all virtual servers, or of IPv6 alone.
func (c *conn) addTallies(ctx context.Context, to map[dataplane.VirtualServerKey]tally, sixOnly bool) (map[dataplane.VirtualServerKey]tally, error) {
	all, err := query(ctx, c, getService, unix.NLM_F_DUMP, nothing, func(body []byte) (counters, error) {
		one, err := decodeCounters(body)
		if err == nil && sixOnly && one.key.Family != dataplane.IPv6 {
			err = nlbatch.ErrSkip
		}
		return one, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the counters of the virtual servers: %w", err)
	}
	if to == nil {
		to = make(map[dataplane.VirtualServerKey]tally, len(all))
	}
	for _, one := range all {
		to[one.key] = tally{one.Traffic, unknownMembers}
	}
	return to, nil
}

// traffic asks what one virtual server has counted.
func (c *conn) traffic(ctx context.Context, key dataplane.VirtualServerKey) (traffic dataplane.Traffic, exists bool, err error) {
	if err := validateKey(key); err != nil {
		return traffic, false, fmt.Errorf("read the counters of %s: %w", key, err)
	}
	answers, err := query(ctx, c, getService, 0, func(b []byte) []byte { return appendService(b, key) }, decodeCounters)
	switch {
	case nlbatch.RefusedWith(err) == unix.ESRCH:
		return traffic, false, nil
	case err == nil && len(answers) != 1:
		err = fmt.Errorf("%w: %d answers", nlbatch.ErrMalformed, len(answers))
	}
	if err != nil {
		return traffic, false, fmt.Errorf("read the counters of %s: %w", key, err)
	}
	return answers[0].Traffic, true, nil
}

// decodeCounters reads an answer to GET_SERVICE: of which virtual server it is, and what that has counted.
func decodeCounters(body []byte) (counters, error) {
	fields, err := parseService(body)
	if err != nil {
		return counters{}, err
	}
	key, err := fields.key()
	if err != nil {
		return counters{}, err
	}
	service, _, err := nlbatch.FindAttribute(body, attrService)
	if err != nil {
		return counters{}, err
	}
	traffic, err := decodeTraffic(service)
	if err != nil {
		return counters{}, fmt.Errorf("virtual server %s: %w", key, err)
	}
	return counters{key, traffic}, nil
}

// decodeTraffic finds the statistics among the attributes of a service.
func decodeTraffic(service []byte) (t dataplane.Traffic, err error) {
	stats, found, err := nlbatch.FindAttribute(service, svcStats64)
	if err == nil && !found {
		stats, found, err = nlbatch.FindAttribute(service, svcStats)
	}
	switch {
	case err != nil:
		return t, err
	case !found:
		return t, fmt.Errorf("%w: no statistics", nlbatch.ErrMalformed)
	}
	fields := [...]*uint64{statsConnections: &t.Connections, statsInPackets: &t.InPackets, statsOutPackets: &t.OutPackets,
		statsInBytes: &t.InBytes, statsOutBytes: &t.OutBytes}
	var seen uint8 // 1<<kind
	err = nlbatch.EachAttribute(stats, func(kind uint16, data []byte) (err error) {
		if kind == 0 || int(kind) >= len(fields) {
			return nil // rates, which are worked out of these
		}
		seen |= 1 << kind
		*fields[kind], err = numberOf(kind, data)
		return err
	})
	if err == nil && seen != 1<<len(fields)-2 {
		err = fmt.Errorf("%w: statistics without some counters", nlbatch.ErrMalformed)
	}
	if err != nil {
		return dataplane.Traffic{}, err
	}
	return t, nil
}

// numberOf reads a number of 4 or 8 bytes.
func numberOf(kind uint16, data []byte) (uint64, error) {
	switch len(data) {
	case 4:
		return uint64(binary.NativeEndian.Uint32(data)), nil
	case 8:
		return binary.NativeEndian.Uint64(data), nil
	}
	return 0, fmt.Errorf("%w: counter %d has %d bytes, not 4 or 8", nlbatch.ErrMalformed, kind, len(data))
}
