package ipvs

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// oldKernel answers by the older interface for what a fake holds.
type oldKernel struct {
	*fakeKernel
	errno  unix.Errno // to fail with
	hidden int        // real servers that are counted and not shown
	asked  int
}

func (k *oldKernel) read(option int, b []byte) error {
	k.asked++
	switch {
	case k.errno != 0:
		return k.errno
	case option == getServicesOption:
		return k.readServices(b)
	}
	key := dataplane.KeyOf(dataplane.Protocol(b[0]), netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[8:]))
	if mark := binary.NativeEndian.Uint32(b[12:]); mark != 0 {
		key = dataplane.MarkKeyOf(dataplane.IPv4, mark)
	}
	room := int(binary.NativeEndian.Uint32(b[16:]))
	if len(b) != destsHeader+room*destEntry {
		return unix.EINVAL
	}
	s := k.services[key]
	if s == nil {
		return unix.ESRCH
	}
	for i, real := range s.dests[:min(room, len(s.dests))] {
		entry := b[destsHeader+i*destEntry:]
		copy(entry, real.Addr.Addr().AsSlice())
		binary.BigEndian.PutUint16(entry[4:], real.Addr.Port())
		binary.NativeEndian.PutUint32(entry[8:], 0x100|uint32(real.Forwarding)) // with IP_VS_CONN_F_INACTIVE
		binary.NativeEndian.PutUint32(entry[12:], real.Weight)
		binary.NativeEndian.PutUint32(entry[24:], 2)
		binary.NativeEndian.PutUint32(entry[28:], 1)
	}
	return nil
}

func (k *oldKernel) readServices(b []byte) error {
	room := int(binary.NativeEndian.Uint32(b))
	if len(b) != servicesHeader+room*serviceEntry {
		return unix.EINVAL
	}
	entry := b[servicesHeader:]
	for _, s := range k.sorted() {
		if s.Key.Family != dataplane.IPv4 || len(entry) == 0 {
			continue
		}
		binary.NativeEndian.PutUint16(entry, uint16(s.Key.Protocol))
		if s.Key.Mark != 0 {
			binary.NativeEndian.PutUint16(entry, unix.IPPROTO_TCP)
		} else {
			copy(entry[4:8], s.Key.Addr.AsSlice())
		}
		binary.BigEndian.PutUint16(entry[8:], s.Key.Port)
		binary.NativeEndian.PutUint32(entry[12:], s.Key.Mark)
		copy(entry[16:], s.Scheduler)
		binary.NativeEndian.PutUint32(entry[32:], uint32(s.Flags)|flagHashed)
		binary.NativeEndian.PutUint32(entry[36:], s.Timeout)
		binary.BigEndian.PutUint32(entry[40:], ^uint32(0)<<(32-s.MaskBits))
		binary.NativeEndian.PutUint32(entry[44:], uint32(len(s.dests)+k.hidden))
		for i, n := range []uint64{s.traffic.Connections, s.traffic.InPackets, s.traffic.OutPackets} {
			binary.NativeEndian.PutUint32(entry[48+4*i:], uint32(n))
		}
		binary.NativeEndian.PutUint64(entry[64:], s.traffic.InBytes)
		binary.NativeEndian.PutUint64(entry[72:], s.traffic.OutBytes)
		entry = entry[serviceEntry:]
	}
	return nil
}

// older returns a driver of a filled fake that has the older interface, too.
func older(t *testing.T) (*oldKernel, *Driver) {
	fake, c := filled(t)
	k := &oldKernel{fakeKernel: fake}
	fake.sizes = nil
	return k, &Driver{conn: c, options: optionTable{read: k.read}, six: sightings{expected: true}}
}

func expectPools(t *testing.T, k *oldKernel, d *Driver) {
	t.Helper()
	pools, draining, err := d.Pools(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(k.dump(), dataplane.Objects{Pools: pools}.Dump()); diff != "" {
		t.Errorf("(-wanted +got)\n%s", diff)
	}
	for key, servers := range draining {
		if want := netip.AddrPortFrom(server(key.Family).Addr(), 81); servers[want] != 3 {
			t.Errorf("%s: draining %v", key, servers)
		}
	}
}

// What the older interface tells is what generic netlink tells, and IPv6 is not left out.
func TestOlderInterfaceReadsTheSame(t *testing.T) {
	k, d := older(t)
	expectPools(t, k, d)
	six := 0
	for _, key := range keys() {
		if key.Family == dataplane.IPv6 {
			six++
		}
	}
	if len(k.sizes) != 1+six {
		t.Errorf("%d requests by netlink, want one for all virtual servers and one for each of the %d of IPv6", len(k.sizes), six)
	}
	for i := range 100 { // more than the buffers had room for
		addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})
		key := dataplane.KeyOf(dataplane.TCP, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 80)
		k.services[key] = &fakeService{VirtualServer: vs(key)}
		all := k.services[keys()[0]]
		all.dests = append(all.dests, dataplane.RealServer{Addr: netip.AddrPortFrom(addr, 80), Weight: 7})
	}
	expectPools(t, k, d)
	clear(k.services)
	expectPools(t, k, d)
}

// Without the older interface, with one that says something else, and when it hides real servers, netlink decides.
func TestNetlinkDecides(t *testing.T) {
	k, d := older(t)
	for _, errno := range []unix.Errno{unix.ENOPROTOOPT, unix.EPERM, unix.EINVAL, unix.ESRCH} {
		k.errno = errno
		expectPools(t, k, d)
		if found, err := d.Connections(context.Background(), keys()); err != nil || errno != unix.ESRCH && len(found) != len(keys()) {
			t.Errorf("%v: %d virtual servers, %v", errno, len(found), err)
		}
	}
	k.errno, k.hidden, k.sizes = 0, 1, nil
	expectPools(t, k, d)
	if len(k.sizes) <= len(keys()) {
		t.Errorf("%d requests by netlink, with hidden real servers behind all of %d", len(k.sizes), len(keys()))
	}
	k.hidden, k.sizes = 0, nil
	k.services[keys()[0]].Scheduler = "sixteen-letters-"
	if _, err := d.options.virtualServers(); !errors.Is(err, errOldInterface) {
		t.Errorf("a name without an end: %v", err)
	}
}

// A virtual server of IPv6 that others add to a table without is found, though not at once; our own at once.
func TestIPv6IsLookedFor(t *testing.T) {
	k, d := older(t)
	six, ours := keys()[0], keys()[0]
	for _, key := range keys() {
		if key.Family == dataplane.IPv6 {
			six = key
		} else {
			ours = key
		}
	}
	stranger := k.services[six]
	clear(k.services)
	d.six = sightings{}
	found := func() int {
		pools, _, err := d.Pools(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return len(pools)
	}
	if found() != 0 {
		t.Fatal("the table is empty")
	}
	k.services[six] = stranger
	readings := 1
	for found() == 0 {
		if readings++; readings > lookForIPv6 {
			t.Fatalf("not found in %d readings", readings)
		}
	}
	d.six = sightings{readings: 1}
	d.Apply(context.Background(), []dataplane.Operation{op(dataplane.Add, vs(ours))})
	if d.six.expected {
		t.Error("IPv4 is no sign of IPv6")
	}
	d.Apply(context.Background(), []dataplane.Operation{op(dataplane.Add, vs(six))})
	if found() != 2 {
		t.Error("our own of IPv6 is not read")
	}
}

// P29: where virtual servers use the scheduler, there is nothing to probe: a restart on a correct kernel sends no message that
// could change it. Others are probed, and those where the older interface cannot tell.
func TestP29CheckSchedulerInUse(t *testing.T) {
	k, d := older(t)
	probed := func(name string) bool {
		t.Helper()
		k.sizes = nil
		if err := d.CheckScheduler(context.Background(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return len(k.sizes) > 0
	}
	used := k.services[keys()[0]].Scheduler
	if probed(used) {
		t.Errorf("%s is in use, and was probed", used)
	}
	if !probed("sh") {
		t.Error("sh is not in use, and was not probed")
	}
	k.errno = unix.EPERM
	if !probed(used) {
		t.Errorf("%s was not probed, though nobody could tell that it is in use", used)
	}
}
