package service

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

func inNS(s string) Name { return Name{"ns", s} }

func serviceOf(n string, port uint16) Service {
	return Service{Name: inNS(n), Ports: []Port{{Name: "p", Protocol: dataplane.TCP, Port: port}}}
}

func sliceOf(t testing.TB, n, owner string, endpoints ...string) Slice {
	s := Slice{Name: inNS(n), Service: owner, Ports: []SlicePort{{Name: "p", Protocol: dataplane.TCP, Port: 8080}}}
	for _, d := range endpoints {
		s.Endpoints = append(s.Endpoints, endpointOf(t, d))
	}
	return s
}

// describe prints everything a Catalog means: its Services with the endpoints of each port, and the counts.
func describe(c *Catalog) string {
	var lines []string
	for n := range c.Names() {
		view, _ := c.View(n)
		for _, port := range view.Ports {
			line := fmt.Sprintf("%s:%d", n, port.Port)
			for _, e := range view.Endpoints(port) {
				line += fmt.Sprintf(" %s ready=%v terminating=%v on %s", e.AddrPort(), e.Ready, e.Terminating, e.Node)
			}
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("%s\n%+v", strings.Join(lines, "\n"), c.Counts())
}

func wantNames(t *testing.T, what string, got []Name, want ...string) {
	t.Helper()
	var names []string
	for _, n := range got {
		names = append(names, n.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("%s affects %v, want %v", what, names, want)
	}
}

func TestCatalogReportsWhatChanged(t *testing.T) {
	c := NewCatalog()
	wantNames(t, "slice without a Service", c.SetSlice(sliceOf(t, "s1", "web", "1")))
	if _, ok := c.View(inNS("web")); ok {
		t.Error("a Service that does not exist has a view")
	}
	if !c.SetService(serviceOf("web", 80)) || c.SetService(serviceOf("web", 80)) || !c.SetService(serviceOf("web", 81)) {
		t.Error("a Service is changed by a new or different value, and by nothing else")
	}
	c.SetService(serviceOf("api", 80))
	wantNames(t, "equal slice", c.SetSlice(sliceOf(t, "s1", "web", "1")))
	triggered := sliceOf(t, "s1", "web", "1")
	triggered.Triggered = triggered.Triggered.AddDate(1, 0, 0)
	wantNames(t, "another trigger time", c.SetSlice(triggered))
	wantNames(t, "another condition", c.SetSlice(sliceOf(t, "s1", "web", "1 unready")), "web")
	wantNames(t, "another owner", c.SetSlice(sliceOf(t, "s1", "api", "1")), "web", "api")
	wantNames(t, "an owner that does not exist", c.SetSlice(sliceOf(t, "s1", "later", "1")), "api")
	wantNames(t, "no owner", c.SetSlice(sliceOf(t, "s1", "", "1")))
	wantNames(t, "an unknown slice's end", c.DeleteSlice(inNS("s1")))
	c.SetSlice(sliceOf(t, "s2", "web", "1", "2"))
	if got, want := c.Counts(), (Counts{Services: 2, Slices: 1, Endpoints: 2}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	wantNames(t, "a slice's end", c.DeleteSlice(inNS("s2")), "web")
	if !c.DeleteService(inNS("web")) || c.DeleteService(inNS("web")) || !c.DeleteService(inNS("api")) {
		t.Error("a Service is deleted once")
	}
	if c.Counts() != (Counts{}) || len(c.records)+len(c.owners) != 0 {
		t.Errorf("something is left: %+v %v %v", c.Counts(), c.records, c.owners)
	}
}

// A view that was handed out stays as it was.
func TestViewDoesNotChange(t *testing.T) {
	c := NewCatalog()
	c.SetService(serviceOf("web", 80))
	c.SetSlice(sliceOf(t, "s1", "web", "1"))
	c.SetSlice(sliceOf(t, "s3", "web", "3"))
	view, _ := c.View(inNS("web"))
	c.SetSlice(sliceOf(t, "s1", "web", "7"))
	c.SetSlice(sliceOf(t, "s2", "web", "2"))
	c.DeleteSlice(inNS("s3"))
	if got := suffixes(view.Endpoints(view.Ports[0])); got != "1 3" {
		t.Errorf("endpoints %q, want the ones of before", got)
	}
	if got := len(view.Slices()); got != 2 {
		t.Errorf("%d slices, want the two of before", got)
	}
}

// After any order of events a Catalog means what one does that saw only the objects that are left.
func TestCatalogRandomWalk(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		walked, services, parts := NewCatalog(), map[Name]Service{}, map[Name]Slice{}
		for range 60 {
			step(t, random, walked, services, parts)
		}
		fresh := NewCatalog()
		for _, s := range parts {
			fresh.SetSlice(s)
		}
		for _, s := range services {
			fresh.SetService(s)
		}
		if got, want := describe(walked), describe(fresh); got != want {
			t.Fatalf("seed %d: after the walk\n%s\nbuilt fresh\n%s", seed, got, want)
		}
	}
}

// step makes one random change, and checks that every Service whose description changes by it is reported.
func step(t *testing.T, random *rand.Rand, c *Catalog, services map[Name]Service, parts map[Name]Slice) {
	pick := func(words ...string) string { return words[random.IntN(len(words))] }
	before := describeEach(c)
	var reported []Name
	switch s, p := pick("a", "b", "c"), pick("s1", "s2", "s3", "s4"); random.IntN(6) {
	case 0:
		services[inNS(s)] = serviceOf(s, 80+uint16(random.IntN(2)))
		if c.SetService(services[inNS(s)]) {
			reported = []Name{inNS(s)}
		}
	case 1:
		delete(services, inNS(s))
		if c.DeleteService(inNS(s)) {
			reported = []Name{inNS(s)}
		}
	case 2:
		delete(parts, inNS(p))
		reported = c.DeleteSlice(inNS(p))
	default:
		parts[inNS(p)] = sliceOf(t, p, s, pick("1", "2", "1 unready", "2 draining here"), pick("3", "3 dying", "4 here"))
		reported = c.SetSlice(parts[inNS(p)])
	}
	after := describeEach(c)
	for n := range services {
		if before[n] != after[n] && !slices.Contains(reported, n) {
			t.Fatalf("%s changed from %q to %q without being reported", n, before[n], after[n])
		}
	}
}

func describeEach(c *Catalog) map[Name]string {
	out := map[Name]string{}
	for n := range c.Names() {
		view, _ := c.View(n)
		for _, port := range view.Ports {
			out[n] += fmt.Sprint(port)
			for _, e := range view.Endpoints(port) {
				out[n] += fmt.Sprintf(" %+v", *e.Endpoint)
			}
		}
	}
	return out
}

func TestB09DuplicatesAcrossSlices(t *testing.T) {
	one := sliceOf(t, "s1", "web", "1 dying", "2", "3 draining", "4")
	two := sliceOf(t, "s2", "web", "4 here", "1", "3 unready", "2 draining")
	for _, order := range [][]Slice{{one, two}, {two, one}} {
		view := NewView(serviceOf("web", 80), order...)
		endpoints := view.Endpoints(view.Ports[0])
		if got := suffixes(endpoints); got != "1 2 3 4" {
			t.Fatalf("endpoints %q", got)
		}
		for i, want := range []string{"1", "2", "3 draining", "4"} {
			if got, want := *endpoints[i].Endpoint, endpointOf(t, want); !got.Equal(want) {
				t.Errorf("got %+v, want the readier %+v", got, want)
			}
		}
	}
}

func TestB10NamedPortsDiffer(t *testing.T) {
	one, two := sliceOf(t, "s1", "web", "1"), sliceOf(t, "s2", "web", "1", "2")
	two.Ports = []SlicePort{{Name: "p", Protocol: dataplane.TCP, Port: 9090}, {Name: "p", Protocol: dataplane.UDP, Port: 53},
		{Name: "q", Protocol: dataplane.TCP, Port: 9191}, {Name: "p", Protocol: dataplane.TCP, Port: 0}}
	view := NewView(serviceOf("web", 80), one, two)
	var got []string
	for _, e := range view.Endpoints(view.Ports[0]) {
		got = append(got, e.AddrPort().String())
	}
	if want := "10.1.0.1:8080 10.1.0.1:9090 10.1.0.2:9090"; strings.Join(got, " ") != want {
		t.Errorf("endpoints %v, want %s", got, want)
	}
}

func TestEndpointsByFamily(t *testing.T) {
	s := sliceOf(t, "s1", "web", "1", "2")
	for _, addr := range []string{"fd00::2", "fd00::1", "::ffff:10.1.0.9", "fe80::1%eth0", "::", "ff02::1"} {
		s.Endpoints = append(s.Endpoints, Endpoint{Addr: netip.MustParseAddr(addr), Ready: true})
	}
	s.Endpoints = append(s.Endpoints, Endpoint{Ready: true})
	view := NewView(serviceOf("web", 80), s)
	endpoints := view.Endpoints(view.Ports[0])
	if got := suffixes(OfFamily(endpoints, dataplane.IPv4)); got != "1 2" {
		t.Errorf("IPv4: %q", got)
	}
	if got := suffixes(OfFamily(endpoints, dataplane.IPv6)); got != "fd00::1 fd00::2" {
		t.Errorf("IPv6: %q", got)
	}
	if got := OfFamily(nil, dataplane.IPv6); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// BenchmarkCatalog changes one slice of 10,000 Services with 10 endpoints each.
func BenchmarkCatalog(b *testing.B) {
	c := NewCatalog()
	for i := range 10_000 {
		c.SetService(serviceOf(fmt.Sprint(i), 80))
		c.SetSlice(sliceOf(b, fmt.Sprint(i), fmt.Sprint(i), "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"))
	}
	one := sliceOf(b, "77", "77", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
	two := sliceOf(b, "77", "77", "0", "1", "2", "3", "4", "5", "6", "7", "8")
	b.ReportAllocs()
	for b.Loop() {
		c.SetSlice(one)
		c.SetSlice(two)
		view, _ := c.View(inNS("77"))
		view.Endpoints(view.Ports[0])
	}
}
