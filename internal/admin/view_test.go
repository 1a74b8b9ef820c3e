package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// example is what a reconciler wants that has one of each kind of object.
func example() reconcile.View {
	addr, six := netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00::1")
	web := reconcile.Owner{Source: "api", Service: service.Name{Namespace: "default", Name: "web"}}
	http := web
	http.Port = "http"
	key, dns := dataplane.KeyOf(dataplane.TCP, addr, 80), dataplane.KeyOf(dataplane.UDP, six, 53)
	return reconcile.View{
		At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Complete: true, LastRound: time.Date(2026, 1, 2, 3, 4, 4, 0, time.UTC),
		Foundation: kernel.Foundation{
			Sets: []dataplane.Set{
				{Name: "KUBE-CLUSTER-IP", Type: dataplane.HashIPPort, Family: dataplane.IPv4, HashSize: 1024, MaxElem: 65536, Marks: true},
				{Name: "KUBE-SOURCES", Type: dataplane.HashIPPortNet, Family: dataplane.IPv4, HashSize: 1024, MaxElem: 65536},
				{Name: "KUBE-NODE-PORT-TCP", Type: dataplane.BitmapPort, Family: dataplane.IPv4},
			},
			Rulesets: []dataplane.Ruleset{{Family: dataplane.IPv4}},
		},
		Objects: dataplane.Objects{
			Pools: []dataplane.Pool{
				{VirtualServer: dataplane.VirtualServer{Key: dns, Scheduler: "rr", MaskBits: 128, Flags: dataplane.FlagPersistent, Timeout: 60}},
				{VirtualServer: dataplane.VirtualServer{Key: key, Scheduler: "sh", MaskBits: 32, Flags: dataplane.FlagFallback},
					RealServers: []dataplane.RealServer{{Addr: netip.MustParseAddrPort("10.1.0.2:8080"), Weight: 1},
						{Addr: netip.MustParseAddrPort("10.1.0.1:8080"), Weight: 2, Forwarding: dataplane.Tunnel}}},
				{VirtualServer: dataplane.VirtualServer{Key: dataplane.MarkKeyOf(dataplane.IPv4, 0x1001), Scheduler: "rr", MaskBits: 32},
					For: []dataplane.VirtualServerKey{key}},
			},
			Addresses: []netip.Addr{six, addr},
			Entries: []dataplane.Entry{
				{Set: "KUBE-SOURCES", Addr: addr, Protocol: dataplane.TCP, Port: 80, Peer: netip.MustParsePrefix("192.0.2.0/24")},
				{Set: "KUBE-CLUSTER-IP", Addr: addr, Protocol: dataplane.TCP, Port: 80, Mark: 0x1001},
				{Set: "KUBE-NODE-PORT-TCP", Port: 30080},
			},
		},
		Owners: reconcile.Owners{Pools: []reconcile.Owner{{}, http, http}, Addresses: []reconcile.Owner{{}, web},
			Entries: []reconcile.Owner{web, web, web}},
		Draining: []dataplane.Member{{VirtualServer: key, RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort("10.1.0.9:8080")}}},
	}
}

func settings() Settings {
	return Settings{Node: "node-1", ExcludeCIDRs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		InternalMarks: MarkRange{0x1000, 0x1fff}, MasqueradeMark: 0x4000}
}

func compileOne(rules dataplane.Ruleset) ([]Table, error) {
	return []Table{{Family: rules.Family.String(), Name: "nat", Chains: []Chain{{"KUBE-SERVICES", []string{"-A KUBE-SERVICES -j ACCEPT"}}},
		Jumps: []Jump{{"PREROUTING", "KUBE-SERVICES", "-A PREROUTING -j KUBE-SERVICES"}}}}, nil
}

func exampleView(t *testing.T) View {
	t.Helper()
	view, err := Of(example(), settings(), compileOne)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// The JSON is an interface to others: it changes by additions only.
func TestJSONIsAsDocumented(t *testing.T) {
	got, err := json.MarshalIndent(exampleView(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/view.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
		t.Errorf("view (-want +got):\n%s", diff)
	}
}

// What went through JSON is what was wanted.
func TestViewKeepsEverything(t *testing.T) {
	text, err := json.Marshal(exampleView(t))
	if err != nil {
		t.Fatal(err)
	}
	var view View
	if err := json.Unmarshal(text, &view); err != nil {
		t.Fatal(err)
	}
	desired, err := view.Desired()
	if err != nil {
		t.Fatal(err)
	}
	want := example()
	if diff := cmp.Diff(want.Objects.Dump(), desired.Dump()); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Foundation.Sets, desired.Sets); diff != "" {
		t.Errorf("sets (-want +got):\n%s", diff)
	}
	for _, pool := range desired.Pools {
		if pool.Key.Mark != 0 && !cmp.Equal(pool.For, want.Objects.Pools[2].For, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
			t.Errorf("the mark is for %v", pool.For)
		}
	}
}

// A word of another version is an error rather than taken for something else.
func TestUnknownWords(t *testing.T) {
	for name, spoil := range map[string]func(*View){
		"protocol":          func(v *View) { v.VirtualServers[1].Protocol = "DCCP" },
		"neither a mark":    func(v *View) { v.VirtualServers[1].ServerKey = ServerKey{} },
		"type of set":       func(v *View) { v.Sets[0].Type = "hash:mac" },
		"family":            func(v *View) { v.Sets[0].Family = "IPX" },
		"forwarding method": func(v *View) { v.VirtualServers[1].RealServers[0].Forwarding = "-x" },
	} {
		view := exampleView(t)
		spoil(&view)
		if _, err := view.Desired(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "another version") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestOurs(t *testing.T) {
	s := settings()
	for key, want := range map[dataplane.VirtualServerKey]bool{
		dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.0.0.1"), 80):  true,
		dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("192.0.2.1"), 80): false,
		dataplane.MarkKeyOf(dataplane.IPv4, 0x1000):                          true,
		dataplane.MarkKeyOf(dataplane.IPv4, 0x5fff):                          true,
		dataplane.MarkKeyOf(dataplane.IPv4, 0x2000):                          false,
	} {
		if s.Ours(key) != want {
			t.Errorf("%s is ours: %v, want %v", key, !want, want)
		}
	}
}

func TestHandlerAnswers(t *testing.T) {
	view, failure := exampleView(t), error(nil)
	var asked Question
	answers := Answers{
		View: func(context.Context) (View, error) { return view, failure },
		Explain: func(_ context.Context, q Question) (Explanation, error) {
			asked = q
			return Explanation{Address: q.String()}, failure
		},
	}
	handler := Handler(Identity{PID: 7, Command: []string{"kube-ipvs-proxy"}}, func() (Answers, error) { return answers, nil })
	ask := func(path string) (int, string) {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		body, err := io.ReadAll(recorder.Result().Body)
		if err != nil {
			t.Fatal(err)
		}
		return recorder.Code, string(body)
	}
	if status, body := ask("/identity"); status != http.StatusOK || !strings.Contains(body, `"pid":7`) {
		t.Errorf("/identity: %d %s", status, body)
	}
	if status, body := ask("/view"); status != http.StatusOK || !strings.Contains(body, "10.96.0.1:80") {
		t.Errorf("/view: %d %s", status, body)
	}
	if status, body := ask("/explain?to=10.96.0.1:53/udp&from=10.0.0.1"); status != http.StatusOK || !strings.Contains(body, `"10.96.0.1:53/udp"`) || asked.From.String() != "10.0.0.1" {
		t.Errorf("/explain: %d %s", status, body)
	}
	if status, body := ask("/explain?to=10.96.0.1"); status != http.StatusBadRequest || !strings.Contains(body, "10.96.0.10:53/udp") {
		t.Errorf("/explain: %d %s", status, body)
	}
	failure = errors.New("not yet")
	if status, body := ask("/view"); status != http.StatusServiceUnavailable || !strings.Contains(body, "not yet") {
		t.Errorf("/view: %d %s", status, body)
	}
}
