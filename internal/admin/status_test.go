package admin

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// townStatus returns the status of the named Services of the town, whose kernel has what is wanted but for what change does
// to a virtual server's usage. It went through JSON.
func townStatus(t *testing.T, change func(dataplane.VirtualServerKey, *dataplane.Usage), names ...string) Status {
	t.Helper()
	c := town(t)
	c.View.At, c.View.LastRound, c.View.LastAudit = at1(10), at1(7), time.Time{}
	chosen, err := ParseNames(names)
	if err != nil {
		t.Fatal(err)
	}
	view := ServersOf(c.View, c.Services, c.Settings, chosen)
	desired, err := view.Desired()
	if err != nil {
		t.Fatal(err)
	}
	usage := map[dataplane.VirtualServerKey]dataplane.Usage{}
	for _, pool := range desired.Pools {
		var used dataplane.Usage
		for _, real := range pool.RealServers {
			used.Servers = append(used.Servers, dataplane.Load{RealServer: real})
		}
		if change != nil {
			change(pool.Key, &used)
		}
		if len(used.Servers) > 0 {
			usage[pool.Key] = used
		}
	}
	text, err := json.Marshal(StatusOf(view, desired, usage, at1(10)))
	if err != nil {
		t.Fatal(err)
	}
	var status Status
	if err := json.Unmarshal(text, &status); err != nil {
		t.Fatal(err)
	}
	status.Daemon = true
	return status
}

func at1(second int) time.Time { return time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC) }

// drifting gives town/web connections, a draining server, one that is missing and one that nobody wants.
func drifting(key dataplane.VirtualServerKey, used *dataplane.Usage) {
	if key != dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.0.1"), 80) {
		return
	}
	slices.SortFunc(used.Servers, func(a, b dataplane.Load) int { return a.Addr.Compare(b.Addr) })
	used.Connections = 1234
	used.Servers[0].Active, used.Servers[0].Inactive = 3, 17
	used.Servers[1].RealServer = dataplane.RealServer{Addr: netip.MustParseAddrPort("10.244.2.4:8080")}
	used.Servers[1].Active = 1
	used.Servers = append(used.Servers, dataplane.Load{RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort("10.9.9.9:1"), Weight: 5}})
}

// What is there, what is missing and what drains, in numbers and in words.
func TestStatusOfDrift(t *testing.T) {
	status := townStatus(t, drifting)
	want := Summary{Services: 8, VirtualServers: 33, RealServers: 44, Draining: 1, Missing: 1, Stray: 1, Active: 4, Inactive: 17}
	if diff := cmp.Diff(want, status.Summary); diff != "" {
		t.Errorf("summary (-want +got):\n%s\n%s", diff, status.Text(Colourless))
	}
	var states []string
	for _, server := range status.VirtualServers {
		for _, real := range server.RealServers {
			if real.State != RealServing {
				states = append(states, server.Address.String()+" "+real.Address.String()+" "+string(real.State)+" "+real.Node)
			}
		}
	}
	wanted := []string{"10.96.0.1:80 10.244.2.2:8080 missing n2", "10.96.0.1:80 10.244.2.4:8080 draining n2", "10.96.0.1:80 10.9.9.9:1 stray "}
	if diff := cmp.Diff(wanted, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// A real server with another weight than is wanted is an alarm in the head, too.
func TestStatusOfAnotherWeight(t *testing.T) {
	status := townStatus(t, func(key dataplane.VirtualServerKey, used *dataplane.Usage) {
		if key == dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.0.1"), 80) {
			used.Servers[0].Weight = 7
		}
	})
	if s, text := status.Summary, status.Text(Colourless); s.OtherWeight != 1 || s.RealServers != 44 || s.Missing+s.Stray != 0 ||
		!strings.Contains(text, "\n1 with another weight; ") || strings.Contains(text, "all as wanted") {
		t.Errorf("%+v of\n%s", s, text)
	}
}

// A virtual server that is there with nobody to serve, and nobody to drain, is not as wanted.
func TestStatusOfEmptyVirtualServer(t *testing.T) {
	server := VirtualServer{Owner: Owner{Name: "empty"}}
	usage := map[dataplane.VirtualServerKey]dataplane.Usage{{}: {}}
	var desired Desired
	desired.Pools = []dataplane.Pool{{}}
	status := StatusOf(View{VirtualServers: []VirtualServer{server}}, desired, usage, at1(10))
	if text := status.Text(Colourless); status.Summary.Stray != 1 || !strings.Contains(text, "\n1 not wanted; ") || !strings.Contains(text, "no endpoints, not wanted") {
		t.Errorf("%+v of\n%s", status.Summary, text)
	}
}

// What others wrote stays in its cell.
func TestCellsOfHostileText(t *testing.T) {
	for _, text := range []string{"a\nb", "a\tb", "a\x1bb", "a\u009bb", "a\u202eb", "a\xffb"} {
		table := endpointTable([]Candidate{{Address: netip.MustParseAddrPort("10.0.0.1:80"), Place: Place{Zone: text}, Chosen: true}})
		if strings.Count(table, "\n") != 2 || !strings.Contains(table, "a\uFFFDb") {
			t.Errorf("%q makes the table\n%q", text, table)
		}
	}
}

// The text of one Service's status, and of one without endpoints.
func TestStatusText(t *testing.T) {
	got := townStatus(t, nil, "town/empty", "town/hinted").Text(Colourless)
	want := `node-1: 2 Services, 2 virtual servers, 2 real servers, 0 active and 0 inactive connections
all as wanted; last round 3s ago, last audit never

town/empty
  UDP 10.96.0.3:53  rr  no endpoints
  TCP 10.96.0.3:80  rr  no endpoints

town/hinted
  UDP 10.96.0.5:53  rr  0 connections so far
    10.244.1.2:5353  n1  a  weight 1  0 active  0 inactive
  TCP 10.96.0.5:80  rr  0 connections so far
    10.244.1.2:8080  n1  a  weight 1  0 active  0 inactive
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	text := townStatus(t, drifting, "town/web", "town/away").Text(Colours)
	for _, part := range []string{"\x1b[1mtown/away\x1b[0m", "\x1b[33m1 draining\x1b[0m", "\x1b[1;31m1 missing\x1b[0m", "1 not wanted",
		"IPv4 mark 0x1000, for clients inside the cluster of 203.0.113.2:80", "1234 connections so far"} {
		if !strings.Contains(text, part) {
			t.Errorf("the text lacks %q:\n%s", part, text)
		}
	}
	if strings.Contains(text, "town/empty") {
		t.Errorf("it has a Service that was not named:\n%s", text)
	}
}

// A screen gets what it has lines for.
func TestFit(t *testing.T) {
	for text, want := range map[string]string{"a\nb\nc\n": "a\nb\nc\n", "a\nb\nc\nd\n": "a\nb\n… and 2 more lines", "": ""} {
		if got := Fit(text, 3); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	names, err := ParseNames([]string{"a/b"})
	if err != nil || names[0] != (service.Name{Namespace: "a", Name: "b"}) || !Chosen(nil, names[0]) || Chosen([]service.Name{{Namespace: "a", Name: "c"}}, names[0]) {
		t.Errorf("%v, %v", names, err)
	}
	for _, text := range []string{"web", "/web", "a/", "a/b/c"} {
		if _, err := ParseNames([]string{text}); err == nil || !strings.Contains(err.Error(), "NAMESPACE/NAME") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
