package host_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/host"
	"kube-ipvs-proxy/internal/kernel/ipset"
)

// room is how many entries the small set of these tests holds.
const room = 4

// numbered are the objects of the Service number i: its entry, virtual server, real server and address.
func numbered(i int) (dataplane.Entry, dataplane.VirtualServer, dataplane.Member, dataplane.Address) {
	addr := netip.AddrFrom4([4]byte{10, 96, 0, byte(i + 1)})
	server := dataplane.VirtualServer{Key: dataplane.KeyOf(dataplane.TCP, addr, 80), Scheduler: "rr", MaskBits: 32}
	return dataplane.Entry{Set: "KUBE-CLUSTER-IP", Addr: addr, Protocol: dataplane.TCP, Port: 80}, server,
		dataplane.Member{VirtualServer: server.Key, RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort("10.1.0.1:8080"), Weight: 1}},
		dataplane.Address{Addr: addr}
}

// exhausted opens the kernel with a set that is too small and cannot grow, because a foreign rule uses what would take its
// place. The returned function puts an end to that.
func exhausted(t *testing.T) (h *host.Host, relieve func()) {
	t.Helper()
	h = opened(t)
	set := dataplane.Set{Name: "KUBE-CLUSTER-IP", Type: dataplane.HashIPPort, Family: dataplane.IPv4, HashSize: 64, MaxElem: room}
	if _, err := h.EnsureFoundation(t.Context(), kernel.Foundation{Sets: []dataplane.Set{set}}); err != nil {
		t.Fatal(err)
	}
	inTheWay := ipset.TemporaryName(set.Name)
	mustRun(t, "ipset create "+inTheWay+" hash:ip,port", "iptables -w -A INPUT -m set --match-set "+inTheWay+" dst,dst")
	return h, func() { mustRun(t, "iptables -w -D INPUT -m set --match-set "+inTheWay+" dst,dst") }
}

func mustRun(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := command(line); err != nil {
			t.Fatal(err)
		}
	}
}

func adding(objects ...dataplane.Object) (operations []dataplane.Operation) {
	for _, object := range objects {
		operations = append(operations, dataplane.Operation{Verb: dataplane.Add, Object: object})
	}
	return operations
}

// Everything in the middle of one batch over all subsystems: a set that is really full, and a virtual server that somebody
// deleted after the plan was made. The rest lands, each failure says what it is, and tried again once there is room, and as
// a new plan would have it, all of it is there.
func TestRefusedInTheMiddleOfABatch(t *testing.T) {
	h, relieve := exhausted(t)
	_, gone, member, _ := numbered(100)
	for _, err := range h.Apply(t.Context(), adding(gone, member)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, "ipvsadm -D "+gone.Key.String())

	const services = 3 * room
	var batch, servers, addresses []dataplane.Operation
	edited, drained, another := gone, member, member
	edited.Scheduler, drained.Weight, another.Addr = "lc", 0, netip.MustParseAddrPort("10.1.0.2:8080")
	for i := range services {
		entry, server, real, address := numbered(i)
		batch, servers, addresses = append(batch, adding(entry)...), append(servers, adding(server, real)...), append(addresses, adding(address)...)
		if i == services/2 {
			servers = append(servers, dataplane.Operation{Verb: dataplane.Edit, Object: edited}, dataplane.Operation{Verb: dataplane.Edit, Object: drained},
				dataplane.Operation{Verb: dataplane.Add, Object: another}, dataplane.Operation{Verb: dataplane.Delete, Object: member})
		}
	}
	batch = append(append(batch, servers...), addresses...)
	var failed []dataplane.Operation
	for i, err := range h.Apply(t.Context(), batch) {
		want := expected(i, batch[i], gone.Key)
		if !errors.Is(err, want) || (err != nil) != (want != nil) {
			t.Errorf("operation %d, %s: %v, want %v", i, batch[i], err, want)
		}
		if errors.Is(err, dataplane.ErrSetFull) {
			failed = append(failed, batch[i])
			if text := err.Error(); !strings.Contains(text, "KUBE-CLUSTER-IP 10.96.0.") || !strings.Contains(text, "remove that reference") {
				t.Errorf("it is not said which entry failed, and what to do: %s", text)
			}
		}
	}
	expectServices(t, h, services, room)

	relieve()
	failed = append(failed, adding(edited, another)...) // as it is planned once the virtual server is known to be gone
	for i, err := range h.Apply(t.Context(), failed) {
		if err != nil {
			t.Errorf("%s again: %v", failed[i], err)
		}
	}
	expectServices(t, h, services, services, edited.String(), another.String())
}

// expected is the error that an operation of the batch is to end with.
func expected(i int, op dataplane.Operation, gone dataplane.VirtualServerKey) error {
	switch x := op.Object.(type) {
	case dataplane.Entry:
		if i >= room {
			return dataplane.ErrSetFull
		}
	case dataplane.VirtualServer:
		if x.Key == gone {
			return dataplane.ErrNotExist
		}
	case dataplane.Member:
		if x.VirtualServer == gone && op.Verb != dataplane.Delete {
			return dataplane.ErrNotExist
		}
	}
	return nil
}

// expectServices compares a snapshot with so many whole Services, so many of their entries, and more lines.
func expectServices(t *testing.T, h *host.Host, services, entries int, more ...string) {
	t.Helper()
	snapshot, err := h.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want dataplane.Objects
	for i := range services {
		entry, server, real, address := numbered(i)
		want.Pools = append(want.Pools, dataplane.Pool{VirtualServer: server, RealServers: []dataplane.RealServer{real.RealServer}})
		want.Addresses = append(want.Addresses, address.Addr)
		if i < entries {
			want.Entries = append(want.Entries, entry)
		}
	}
	got := snapshot.Dump()
	for _, line := range more {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("the kernel lacks %q", line)
		}
		got = strings.Replace(got, line+"\n", "", 1)
	}
	if diff := cmp.Diff(want.Dump(), got); diff != "" {
		t.Errorf("the kernel (-wanted +got):\n%s", diff)
	}
}

// No kernel has the memory for the buckets of such a set. The others are made all the same.
func TestNoMemoryForOneSet(t *testing.T) {
	h := opened(t)
	set := func(i int) dataplane.Set {
		return dataplane.Set{Name: fmt.Sprint("S", i), Type: dataplane.HashIPPort, Family: dataplane.IPv4, HashSize: 1024, MaxElem: 65536}
	}
	sets := []dataplane.Set{set(0), set(1), set(2)}
	sets[1].HashSize = 1 << 31
	_, err := h.EnsureFoundation(t.Context(), kernel.Foundation{Sets: sets})
	if !errors.Is(err, unix.ENOMEM) || !strings.Contains(err.Error(), "create S1 hash:ip,port") {
		t.Errorf("foundation: %v", err)
	}
	entry := func(i int) dataplane.Entry {
		e, _, _, _ := numbered(i)
		e.Set = sets[i].Name
		return e
	}
	for i, err := range h.Apply(t.Context(), adding(entry(0), entry(1), entry(2))) {
		if (err != nil) != (i == 1) || i == 1 && !errors.Is(err, dataplane.ErrNotExist) {
			t.Errorf("entry of set %d: %v", i, err)
		}
	}
	snapshot, err := h.Snapshot(t.Context())
	if err != nil || len(snapshot.Entries) != 2 {
		t.Errorf("%+v, %v", snapshot, err)
	}
	sets[1].HashSize = 1024
	if _, err := h.EnsureFoundation(t.Context(), kernel.Foundation{Sets: sets}); err != nil {
		t.Errorf("with what there is memory for: %v", err)
	}
	if err := h.Apply(t.Context(), adding(entry(1)))[0]; err != nil {
		t.Errorf("again: %v", err)
	}
}
