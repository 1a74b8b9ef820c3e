package translate

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// tape turns fuzz input into values, zero when it has run out. Addresses and ports come from small pools, so that
// collisions are common.
type tape struct{ data []byte }

func (t *tape) next() byte {
	if len(t.data) == 0 {
		return 0
	}
	b := t.data[0]
	t.data = t.data[1:]
	return b
}

func (t *tape) bool() bool { return t.next()&1 == 1 }

func (t *tape) addr() netip.Addr {
	pool := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "192.168.0.1", "fd00::1", "fd00::2", "2001:db8::1",
		"0.0.0.0", "::", "::ffff:10.0.0.1", "fe80::1%eth0", "224.0.0.1", "ff02::1", "127.0.0.1", ""}
	addr, _ := netip.ParseAddr(pool[int(t.next())%len(pool)])
	return addr
}

func (t *tape) addrs() (out []netip.Addr) {
	for range t.next() % 4 {
		out = append(out, t.addr())
	}
	return out
}

func (t *tape) protocol() dataplane.Protocol {
	return []dataplane.Protocol{dataplane.TCP, dataplane.UDP, dataplane.SCTP, 1, 0}[t.next()%5]
}

func (t *tape) port() uint16 { return []uint16{80, 30080, 8080, 65535, 0}[t.next()%5] }

func (t *tape) word() string { return []string{"", "a", "b", "n1", "za"}[t.next()%5] }

func (t *tape) slice() service.Slice {
	s := service.Slice{Name: service.Name{Namespace: "ns", Name: t.word()}}
	for range t.next() % 4 {
		s.Ports = append(s.Ports, service.SlicePort{Name: t.word(), Protocol: t.protocol(), Port: t.port()})
	}
	for range t.next() % 6 {
		flags := t.next()
		e := service.Endpoint{Addr: t.addr(), Node: t.word(), Ready: flags&1 != 0, Serving: flags&2 != 0, Terminating: flags&4 != 0}
		if flags&8 != 0 {
			e.ForZones = []string{t.word()}
		}
		if flags&16 != 0 {
			e.ForNodes = []string{t.word()}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func (t *tape) policy() service.Policy {
	p := service.Policy{InternalLocal: t.bool(), ExternalLocal: t.bool(), PublishNotReady: t.bool(),
		HealthCheckNodePort: t.port(), AffinityTimeout: time.Duration(t.next()) << (t.next() % 56)}
	for range t.next() % 4 {
		p.SourceRanges = append(p.SourceRanges, netip.PrefixFrom(t.addr(), int(t.next())-4))
	}
	return p
}

func (t *tape) view() service.View {
	s := service.Service{
		Name: service.Name{Namespace: "ns", Name: "fuzz"}, Policy: t.policy(), Families: dataplane.Families()[:1+t.next()%2],
		VIPs: service.VIPs{Cluster: t.addrs(), External: t.addrs(), LoadBalancer: t.addrs()},
	}
	for range t.next() % 4 {
		s.Ports = append(s.Ports, service.Port{Name: t.word(), Protocol: t.protocol(), Port: t.port(), NodePort: t.port()})
	}
	return service.NewView(s, t.slice(), t.slice())
}

func (t *tape) facts() service.Facts {
	facts := service.Facts{
		Node: service.Node{Name: t.word(), Zone: t.word(), Addresses: t.addrs()}, Bind: t.addr(),
		Local: t.addrs(), OtherNodes: t.addrs(), Families: dataplane.Families()[t.next()%2:],
	}
	slices.SortFunc(facts.OtherNodes, netip.Addr.Compare)
	facts.NodePortAddrs = service.NodePortAddresses{}.Select(facts)
	return facts
}

func FuzzService(f *testing.F) {
	f.Add([]byte{})
	seed := make([]byte, 256)
	for i := range uint64(64) {
		for j := range seed[:248] {
			seed[j] = byte(mix(i<<32 | uint64(j)))
		}
		binary.BigEndian.PutUint64(seed[248:], i)
		f.Add(slices.Clone(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := tape{data}
		view, facts := in.view(), in.facts()
		options := service.Options{Scheduler: []string{"rr", "mh", "sh"}[in.next()%3]}
		given := map[[2]uint16]uint32{}
		markOf := func(port service.Port, _ []dataplane.VirtualServerKey) uint32 {
			id := [2]uint16{uint16(port.Protocol), port.Port}
			if given[id] == 0 {
				given[id] = uint32(len(given) + 1)
			}
			return given[id]
		}
		got, _ := Service(view, facts, options, markOf)
		validate(t, got, facts)
		again, _ := Service(view, facts, options, markOf)
		if got.Dump() != again.Dump() || !slices.EqualFunc(got.Pools, again.Pools, dataplane.Pool.Equal) {
			t.Error("translated twice, it differs")
		}
		validate(t, Node(facts, options), facts)
	})
}

// validate holds objects against what the kernel takes and what other packages rely on.
func validate(t *testing.T, objects dataplane.Objects, facts service.Facts) {
	t.Helper()
	dump := strings.Split(strings.TrimSuffix(objects.Dump(), "\n"), "\n")
	slices.Sort(dump)
	for i := 1; i < len(dump); i++ {
		if dump[i] == dump[i-1] {
			t.Errorf("twice: %s", dump[i])
		}
	}
	for _, pool := range objects.Pools {
		validatePool(t, pool, objects, facts)
	}
	for _, addr := range objects.Addresses {
		if !service.Reachable(addr) || slices.Contains(facts.Local, addr) || !slices.Contains(facts.Families, dataplane.FamilyOf(addr)) {
			t.Errorf("%s is bound", addr)
		}
	}
	sets := map[string]dataplane.Set{}
	for _, set := range Sets(facts.Families) {
		sets[set.Name] = set
	}
	for _, entry := range objects.Entries {
		validateEntry(t, entry, sets[entry.Set])
	}
}

func validatePool(t *testing.T, pool dataplane.Pool, objects dataplane.Objects, facts service.Facts) {
	t.Helper()
	key := pool.Key
	if key.Mark != 0 {
		validateMarked(t, pool, objects)
	} else if !service.Reachable(key.Addr) || key.Port == 0 || !slices.Contains(protocols(), key.Protocol) ||
		!slices.Contains(facts.Families, key.Family) || key.Family != dataplane.FamilyOf(key.Addr) || int(pool.MaskBits) != key.Family.Bits() {
		t.Errorf("invalid virtual server %+v", pool.VirtualServer)
	}
	if (pool.Timeout != 0) != (pool.Flags&dataplane.FlagPersistent != 0) {
		t.Errorf("timeout without persistence, or the other way round: %+v", pool.VirtualServer)
	}
	wanted := map[netip.AddrPort]bool{}
	for _, server := range pool.RealServers {
		if wanted[server.Addr] || !service.Reachable(server.Addr.Addr()) || server.Addr.Port() == 0 || server.Weight != 1 ||
			dataplane.FamilyOf(server.Addr.Addr()) != key.Family {
			t.Errorf("invalid or repeated real server %+v of %s", server, key)
		}
		wanted[server.Addr] = true
	}
	for _, addr := range pool.Listed {
		if wanted[addr] {
			t.Errorf("%s of %s is both wanted and listed as not wanted", addr, key)
		}
	}
	if key.Mark != 0 {
		return
	}
	served := dataplane.Entry{Set: SetName(key.Family, ServedIPs), Addr: key.Addr}
	if !slices.Contains(objects.Entries, served) && !slices.Contains(facts.NodePortAddrs, key.Addr) { // Node adds those
		t.Errorf("the rules let go what is for %s", key)
	}
	refused := slices.ContainsFunc(objects.Entries, func(e dataplane.Entry) bool {
		return (e.Set == SetName(key.Family, NoEndpoints) || e.Set == SetName(key.Family, NoLocal)) &&
			e.Addr == key.Addr && e.Port == key.Port && e.Protocol == key.Protocol
	})
	if len(pool.RealServers) == 0 && !refused {
		t.Errorf("%s: refused or dropped %v with %d real servers", key, refused, len(pool.RealServers))
	}
}

// validateMarked: what has the mark stands beside virtual servers of the same Service and protocol, one of whose entries
// carries it.
func validateMarked(t *testing.T, pool dataplane.Pool, objects dataplane.Objects) {
	t.Helper()
	key := pool.Key
	if key != dataplane.MarkKeyOf(key.Family, key.Mark) || pool.Timeout != 0 || int(pool.MaskBits) != key.Family.Bits() || len(pool.For) == 0 {
		t.Errorf("invalid virtual server %+v for %v", pool.VirtualServer, pool.For)
	}
	for _, target := range pool.For {
		if target.Protocol != pool.For[0].Protocol || target.Family != key.Family ||
			!slices.ContainsFunc(objects.Pools, func(p dataplane.Pool) bool { return p.Key == target }) {
			t.Errorf("%s is for %s", key, target)
		}
		if !slices.ContainsFunc(objects.Entries, func(e dataplane.Entry) bool {
			return e.Set == SetName(key.Family, InternalMark) && dataplane.KeyOf(e.Protocol, e.Addr, e.Port) == target &&
				(e.Mark == key.Mark || e.Mark|service.DefaultMark == key.Mark)
		}) {
			t.Errorf("packets to %s are not marked for %s", target, key)
		}
	}
}

func validateEntry(t *testing.T, e dataplane.Entry, set dataplane.Set) {
	t.Helper()
	hasAddr, hasPort, hasPeer := true, true, false
	switch set.Type {
	case dataplane.HashIP:
		hasPort = false
	case dataplane.BitmapPort:
		hasAddr = false
	case dataplane.HashIPPortIP, dataplane.HashIPPortNet:
		hasPeer = true
	case dataplane.HashIPPort:
	default:
		t.Errorf("no set for %s", e)
		return
	}
	switch {
	case hasAddr != e.Addr.IsValid(), hasPort != (e.Port != 0), hasPeer != e.Peer.IsValid(), (hasAddr && hasPort) != (e.Protocol != 0):
		t.Errorf("%s has not the fields of %s", e, set.Type)
	case hasAddr && (!service.Reachable(e.Addr) || dataplane.FamilyOf(e.Addr) != set.Family):
		t.Errorf("%s has an address that %s does not take", e, set)
	case hasPeer && (e.Peer != e.Peer.Masked() || e.Peer.Bits() == 0 || dataplane.FamilyOf(e.Peer.Addr()) != set.Family):
		t.Errorf("%s has a peer that %s does not take", e, set)
	case (e.Mark != 0) != set.Marks:
		t.Errorf("%s has mark %d", e, e.Mark)
	case set.Type == dataplane.HashIPPortIP && !e.Peer.IsSingleIP():
		t.Errorf("%s has a network for an address", e)
	}
}
