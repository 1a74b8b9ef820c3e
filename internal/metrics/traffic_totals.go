package metrics

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// servedPort is a port of a Service. Of two Services of one name, which different sources can deliver, the same ports are one.
type servedPort struct {
	service service.Name
	port    string
}

// portOf returns the port of an owner, named as labels can be: they are UTF-8, of which a source may deliver something else.
func portOf(owner reconcile.Owner) servedPort {
	label := func(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }
	return servedPort{service.Name{Namespace: label(owner.Service.Namespace), Name: label(owner.Service.Name)}, label(owner.Port)}
}

func (p servedPort) compare(o servedPort) int {
	return cmp.Or(cmp.Compare(p.service.Namespace, o.service.Namespace), cmp.Compare(p.service.Name, o.service.Name),
		cmp.Compare(p.port, o.port))
}

func (p servedPort) labels() []string { return []string{p.service.Namespace, p.service.Name, p.port} }

// portUse is what clients do with a port, through all of its virtual servers.
type portUse struct {
	total dataplane.Traffic // since the port exists, or this process
	// At the last reading:
	active, inactive uint64
	endpoints        map[netip.AddrPort]load // nil unless they are asked for
}

// load is what one endpoint has to do for a port.
type load struct {
	active, inactive uint64
	weight           uint32 // the largest that it has in a virtual server of the port
}

// totals add up what virtual servers count.
type totals struct {
	// counted is what each virtual server had counted when it was last read: what it has counted more since then is new.
	counted map[dataplane.VirtualServerKey]dataplane.Traffic
	ports   map[servedPort]*portUse
}

func newTotals() totals {
	return totals{counted: make(map[dataplane.VirtualServerKey]dataplane.Traffic), ports: make(map[servedPort]*portUse)}
}

// reading says what a scrape shows.
type reading struct {
	shown   []servedPort // in order
	omitted int
}

// read brings the totals up to date. On an error they may be so in part, which does no harm: what was not read now will be.
func (t *totals) read(ctx context.Context, source TrafficSource, limits TrafficLimits) (reading, error) {
	servers, err := source.Servers(ctx)
	if err != nil {
		return reading{}, err
	}
	owners := t.know(servers)
	found := t.show(limits)
	keys := t.keys(owners, found.shown)
	missing := make(map[dataplane.VirtualServerKey]struct{}, len(keys))
	for _, key := range keys {
		missing[key] = struct{}{}
	}
	err = source.Usage(ctx, keys, func(key dataplane.VirtualServerKey, now dataplane.Usage) {
		delete(missing, key)
		if use := t.ports[owners[key]]; use != nil {
			use.add(since(t.counted[key], now.Traffic), now.Servers)
		}
		t.counted[key] = now.Traffic
	})
	if err != nil {
		return reading{}, err
	}
	for key := range missing { // deleted: when it is made anew, it counts from 0
		delete(t.counted, key)
	}
	return found, nil
}

// know makes the ports be those of the virtual servers, and returns for which port each is there.
func (t *totals) know(servers []reconcile.Server) map[dataplane.VirtualServerKey]servedPort {
	owners := make(map[dataplane.VirtualServerKey]servedPort, len(servers))
	present := make(map[servedPort]struct{}, len(servers))
	for _, server := range servers {
		port := portOf(server.Owner)
		owners[server.Key], present[port] = port, struct{}{}
		if t.ports[port] == nil {
			t.ports[port] = &portUse{}
		}
	}
	maps.DeleteFunc(t.ports, func(port servedPort, _ *portUse) bool {
		_, there := present[port]
		return !there
	})
	return owners
}

// show chooses the ports that the limit allows, and forgets what the last reading said of connections.
func (t *totals) show(limits TrafficLimits) reading {
	ports := sortedKeys(t.ports, servedPort.compare)
	shown := min(len(ports), limits.Services)
	for _, port := range ports[:shown] {
		use := t.ports[port]
		use.active, use.inactive, use.endpoints = 0, 0, nil
		if limits.Endpoints > 0 {
			use.endpoints = make(map[netip.AddrPort]load)
		}
	}
	return reading{ports[:shown], len(ports) - shown}
}

// keys are the virtual servers to be read: those of the ports that are shown, and those that were read before and are for
// nobody any more, in case they come back without having been deleted.
func (t *totals) keys(owners map[dataplane.VirtualServerKey]servedPort, shown []servedPort) []dataplane.VirtualServerKey {
	show := make(map[servedPort]struct{}, len(shown))
	for _, port := range shown {
		show[port] = struct{}{}
	}
	keys := make([]dataplane.VirtualServerKey, 0, len(owners))
	for key, port := range owners {
		if _, yes := show[port]; yes {
			keys = append(keys, key)
		}
	}
	for key := range t.counted {
		if _, wanted := owners[key]; !wanted {
			keys = append(keys, key)
		}
	}
	return keys
}

// add adds what one virtual server of the port counted since it was last read, and its connections now.
func (u *portUse) add(more dataplane.Traffic, servers []dataplane.Load) {
	u.total.Connections += more.Connections
	u.total.InPackets += more.InPackets
	u.total.OutPackets += more.OutPackets
	u.total.InBytes += more.InBytes
	u.total.OutBytes += more.OutBytes
	for _, server := range servers {
		active, inactive := uint64(server.Active), uint64(server.Inactive)
		u.active += active
		u.inactive += inactive
		if u.endpoints != nil {
			before := u.endpoints[server.Addr]
			u.endpoints[server.Addr] = load{before.active + active, before.inactive + inactive, max(before.weight, server.Weight)}
		}
	}
}

// since returns what was counted between two readings of a virtual server. When any number has gone back, all began at 0 in
// between.
func since(before, now dataplane.Traffic) dataplane.Traffic {
	if now.Connections < before.Connections || now.InPackets < before.InPackets || now.OutPackets < before.OutPackets ||
		now.InBytes < before.InBytes || now.OutBytes < before.OutBytes {
		return now
	}
	return dataplane.Traffic{
		Connections: now.Connections - before.Connections,
		InPackets:   now.InPackets - before.InPackets, OutPackets: now.OutPackets - before.OutPackets,
		InBytes: now.InBytes - before.InBytes, OutBytes: now.OutBytes - before.OutBytes,
	}
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(m), compare)
}
