package ipset_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipset"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
)

// open opens a driver in a fresh network namespace. Warnings are appended to the slice.
func open(t testing.TB) (d *ipset.Driver, warnings *[]string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace and CAP_NET_ADMIN: run the tests as root")
	}
	kerneltest.Netns(t)
	warnings = new([]string)
	d, err := ipset.Open(ipset.WithWarnings(func(message string) { *warnings = append(*warnings, message) }))
	if errors.Is(err, dataplane.ErrUnavailable) && os.Getenv(kerneltest.LabVariable) == "" {
		t.Skipf("needs a kernel with ipset: run `make kernel-test`: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, warnings
}

// command runs a program in the test's namespace and returns what it prints.
func command(t testing.TB, name string, arguments ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("needs %s (apt-get install ipset iptables): %v", name, err)
	}
	out, err := exec.Command(name, arguments...).CombinedOutput()
	return string(out), err
}

func mustRun(t testing.TB, line string) string {
	t.Helper()
	words := strings.Fields(line)
	out, err := command(t, words[0], words[1:]...)
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return out
}

// saved returns the sorted lines of `ipset save` for a set.
func saved(t testing.TB, set string) []string {
	t.Helper()
	return sortedLines(mustRun(t, "ipset save "+set))
}

func sortedLines(s string) []string {
	return slices.Sorted(strings.Lines(strings.TrimSpace(s) + "\n"))
}

func printed(set dataplane.Set, entries []dataplane.Entry) []string {
	lines := []string{set.String() + "\n"}
	for _, entry := range entries {
		lines = append(lines, entry.String()+"\n")
	}
	slices.Sort(lines)
	return lines
}

func ensure(t testing.TB, d *ipset.Driver, sets ...dataplane.Set) []string {
	t.Helper()
	repaired, err := d.Ensure(context.Background(), sets)
	if err != nil {
		t.Fatal(err)
	}
	return repaired
}

// apply fails the test unless every operation succeeds.
func apply(t testing.TB, d *ipset.Driver, verb dataplane.Verb, entries ...dataplane.Entry) {
	t.Helper()
	for i, err := range d.Apply(context.Background(), operations(verb, entries...)) {
		if err != nil {
			t.Fatalf("%s %s: %v", verb, entries[i], err)
		}
	}
}

func operations(verb dataplane.Verb, entries ...dataplane.Entry) []dataplane.Operation {
	var all []dataplane.Operation
	for _, entry := range entries {
		all = append(all, dataplane.Operation{Verb: verb, Object: entry})
	}
	return all
}

// entriesOf returns the entries of sets, sorted.
func entriesOf(t testing.TB, d *ipset.Driver, sets ...string) []dataplane.Entry {
	t.Helper()
	entries, err := d.Entries(context.Background(), sets)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(entries, dataplane.Entry.Compare)
	return entries
}

func hashSet(name string, kind dataplane.SetType, family dataplane.Family) dataplane.Set {
	return dataplane.Set{Name: name, Type: kind, Family: family, HashSize: dataplane.DefaultHashSize, MaxElem: dataplane.DefaultMaxElem}
}

func portSet(name string) dataplane.Set {
	return dataplane.Set{Name: name, Type: dataplane.BitmapPort, Family: dataplane.IPv4}
}

// everySet returns a set of each type and family, with and without marks.
func everySet() []dataplane.Set {
	sets := []dataplane.Set{portSet("PORTS")}
	marked := portSet("PORTS-M")
	marked.Marks = true
	sets = append(sets, marked)
	for i, kind := range []dataplane.SetType{dataplane.HashIP, dataplane.HashIPPort, dataplane.HashIPPortIP, dataplane.HashIPPortNet} {
		for _, family := range dataplane.Families() {
			set := hashSet(strings.Repeat("X", i+1)+family.String(), kind, family)
			sets = append(sets, set)
			set.Name, set.Marks = set.Name+"-M", true
			sets = append(sets, set)
		}
	}
	return sets
}

// someEntries returns entries that fit the set, in every shape.
func someEntries(set dataplane.Set) []dataplane.Entry {
	addr, peer, net := netip.MustParseAddr("10.0.0.1"), netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("10.64.0.0/10")
	if set.Family == dataplane.IPv6 {
		addr, peer, net = netip.MustParseAddr("fd00::1"), netip.MustParsePrefix("fd00::2/128"), netip.MustParsePrefix("fd00:1::/41")
	}
	base := dataplane.Entry{Set: set.Name, Addr: addr}
	var entries []dataplane.Entry
	add := func(protocol dataplane.Protocol, port uint16, peers ...netip.Prefix) {
		e := base
		e.Protocol, e.Port = protocol, port
		if set.Marks {
			e.Mark = uint32(len(entries) * 4096) // the first one has none
		}
		for _, e.Peer = range append(peers, netip.Prefix{})[:max(1, len(peers))] {
			entries = append(entries, e)
		}
	}
	switch set.Type {
	case dataplane.BitmapPort:
		base.Addr = netip.Addr{}
		add(0, 0)
		add(0, 30080)
		add(0, 65535)
	case dataplane.HashIP:
		add(0, 0)
		base.Addr = base.Addr.Next()
		add(0, 0)
	case dataplane.HashIPPort:
		add(dataplane.TCP, 80)
		add(dataplane.UDP, 53)
		add(dataplane.SCTP, 65535)
	case dataplane.HashIPPortIP:
		add(dataplane.TCP, 80, peer)
		add(dataplane.SCTP, 9, peer)
	case dataplane.HashIPPortNet:
		add(dataplane.TCP, 80, peer, net)
		add(dataplane.UDP, 53, netip.PrefixFrom(net.Addr(), 1).Masked())
	}
	return entries
}

// numbered returns n entries for a hash:ip,port set of IPv4.
func numbered(set string, n int) []dataplane.Entry {
	entries := make([]dataplane.Entry, n)
	for i := range entries {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		entries[i] = dataplane.Entry{Set: set, Addr: addr, Protocol: dataplane.TCP, Port: 443}
	}
	return entries
}
