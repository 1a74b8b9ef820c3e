package page

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// noon is when the tests look.
func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

// world is what the page under test reads. It counts the virtual servers that IPVS is asked for.
type world struct {
	pools    []dataplane.Pool
	owners   []reconcile.Owner
	services []reconcile.Delivered
	usage    map[dataplane.VirtualServerKey]dataplane.Usage
	err      error // of reading IPVS
	asked    int
	history  *History
}

func newWorld() *world {
	return &world{usage: map[dataplane.VirtualServerKey]dataplane.Usage{}, history: NewHistory(clocktesting.NewFakePassiveClock(noon()))}
}

// add gives the world a Service with one virtual server, TCP port 80, and these endpoints.
func (w *world) add(namespace, name, addr string, behind ...service.Endpoint) dataplane.VirtualServerKey {
	key := dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr(addr), 80)
	pool := dataplane.Pool{VirtualServer: dataplane.VirtualServer{Key: key, Scheduler: "rr"}}
	var used dataplane.Usage
	for _, e := range behind {
		real := dataplane.RealServer{Addr: netip.AddrPortFrom(e.Addr, 8080), Weight: 1}
		pool.RealServers = append(pool.RealServers, real)
		used.Servers = append(used.Servers, dataplane.Load{RealServer: real, Active: 3, Inactive: 17})
	}
	owner := service.Name{Namespace: namespace, Name: name}
	w.pools, w.owners = append(w.pools, pool), append(w.owners, reconcile.Owner{Source: "api", Service: owner, Port: "http"})
	if len(behind) > 0 {
		used.Connections = 1234
		w.usage[key] = used
	}
	ports := []service.Port{{Name: "http", Protocol: dataplane.TCP, Port: 80}}
	w.services = append(w.services, reconcile.Delivered{Source: "api", View: service.NewView(service.Service{Name: owner, Ports: ports},
		service.Slice{Endpoints: behind, Ports: []service.SlicePort{{Name: "http", Protocol: dataplane.TCP, Port: 8080}}})})
	return key
}

func endpoint(addr, node, zone string) service.Endpoint {
	return service.Endpoint{Addr: netip.MustParseAddr(addr), Node: node, Zone: zone, Ready: true, Serving: true}
}

// source is what the page reads of the world.
func (w *world) source() Source {
	return Source{Node: "node-1", Version: "v1.2.3", Started: noon().Add(-90 * time.Minute), Clock: clocktesting.NewFakePassiveClock(noon()),
		Pools: func(_ context.Context, choose func([]dataplane.Pool, []reconcile.Owner) []int) (reconcile.View, error) {
			var view reconcile.View
			for _, i := range choose(w.pools, w.owners) {
				view.Objects.Pools, view.Owners.Pools = append(view.Objects.Pools, w.pools[i]), append(view.Owners.Pools, w.owners[i])
			}
			return view, nil
		},
		Services: func([]service.Name) []reconcile.Delivered { return w.services },
		Usage: func(_ context.Context, keys []dataplane.VirtualServerKey, visit func(dataplane.VirtualServerKey, dataplane.Usage)) error {
			w.asked += len(keys)
			for _, key := range keys {
				if used, there := w.usage[key]; there {
					visit(key, used)
				}
			}
			return w.err
		},
		Ages:    func() map[string]time.Duration { return map[string]time.Duration{"services": 4 * time.Second} },
		Healthy: func() bool { return true },
		History: w.history,
	}
}

func (w *world) ask(t *testing.T, method, query string) *httptest.ResponseRecorder {
	t.Helper()
	handler, err := New(w.source())
	if err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(method, "/status"+query, nil))
	return answer
}

// shows checks the status of a page, and that it has all the parts, or that it lacks those that begin with an exclamation mark.
func (w *world) shows(t *testing.T, query string, status int, parts ...string) string {
	t.Helper()
	answer := w.ask(t, http.MethodGet, query)
	body := answer.Body.String()
	if answer.Code != status {
		t.Errorf("%s answers %d, want %d:\n%s", query, answer.Code, status, body)
	}
	for _, part := range parts {
		text, without := strings.CutPrefix(part, "!")
		if strings.Contains(body, text) == without {
			t.Errorf("%s: %q is there: %v\n%s", query, text, without, body)
		}
	}
	return body
}

// busyWorld has one of everything that can happen.
func busyWorld() *world {
	w := newWorld()
	web := w.add("default", "web", "10.96.0.80", endpoint("10.244.1.2", "node-1", "a"), endpoint("10.244.2.2", "node-2", "b"))
	used := w.usage[web]
	used.Servers = append(used.Servers[:1], dataplane.Load{RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort("10.244.2.9:8080")}, Active: 1})
	w.usage[web] = used
	delete(w.usage, w.add("default", "gone", "10.96.0.81", endpoint("10.244.1.2", "node-1", "a")))
	w.add("idle", "empty", "fd00:96::82")
	w.history.RoundDone(reconcile.Round{Started: noon().Add(-7 * time.Second), Duration: 42 * time.Millisecond, Services: 3, Complete: true, Waiting: 1,
		Present: reconcile.Present{Draining: 1}, Failures: []reconcile.Failure{{Operation: dataplane.Operation{Verb: dataplane.Add, Object: dataplane.Address{Addr: netip.MustParseAddr("10.96.0.80")}},
			Err: errors.New("no buffer space")}}})
	w.history.Audited(reconcile.Audit{At: noon().Add(-30 * time.Second), Drifted: 2, Repaired: []string{"chain KUBE-SERVICES"}})
	return w
}

// The page as a whole, which is to be read when it changes: UPDATE=1 writes it anew.
func TestPage(t *testing.T) {
	got := busyWorld().shows(t, "", http.StatusOK)
	got = strings.Replace(got, style, "…", 1)
	file := filepath.Join("testdata", "page.html")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

// No word from elsewhere becomes markup: a zone may be any text.
func TestHostileWordsStayWords(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=x onerror='x'>`
	w := newWorld()
	w.add("default", hostile, "10.96.0.80", endpoint("10.244.1.2", hostile, hostile))
	w.owners[0].Port = hostile
	w.history.StepDone(reconcile.StepSnapshot, errors.New(hostile))
	for _, query := range []string{"", "?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"} {
		w.shows(t, query, http.StatusOK, "!<script", "!<img", "&lt;script&gt;alert(1)")
	}
}

// Whatever happens, a browser loads nothing, and the hash of the policy is that of the style.
func TestPolicy(t *testing.T) {
	answer := busyWorld().ask(t, http.MethodGet, "")
	body, policy := answer.Body.String(), answer.Header().Get("Content-Security-Policy")
	_, rest, _ := strings.Cut(body, "<style>")
	css, _, found := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(css))
	if !found || !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("policy %s for style %s", policy, css)
	}
	for _, loads := range []string{"<script", "<link", "<img", " src=", "url(", "@import", "http://", "https://", " style="} {
		if strings.Contains(body, loads) {
			t.Errorf("the page has %q", loads)
		}
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8"} {
		if got := answer.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A page has so many virtual servers and no more, and IPVS is asked for these only.
func TestPaging(t *testing.T) {
	w := newWorld()
	for i := range 2*perPage + 1 {
		w.add("default", fmt.Sprintf("s%02d", i), fmt.Sprintf("10.96.1.%d", i), endpoint("10.244.1.2", "n", ""))
	}
	w.shows(t, "", http.StatusOK, "page 1 of 3", "default/s00", "default/s19", "!default/s20", `href="?page=2"`, "!Previous")
	if w.asked != perPage {
		t.Errorf("IPVS was asked for %d virtual servers", w.asked)
	}
	w.shows(t, "?page=2&refresh=5", http.StatusOK, "default/s20", "!default/s40", `href="?page=3&amp;refresh=5"`, `http-equiv="refresh" content="5"`)
	w.shows(t, "?page=3", http.StatusOK, "default/s40", "!default/s39", "!Next", `href="?page=2"`)
	w.shows(t, "?page=1000000", http.StatusOK, "page 3 of 3", "default/s40")
	w.shows(t, "?q=DEFAULT/s1", http.StatusOK, "10 of 41 virtual servers", "page 1 of 1", "default/s10", "!default/s09", `value="DEFAULT/s1"`)
	w.shows(t, "?q=10.96.1.40", http.StatusOK, "1 of 41", "default/s40", "!default/s04")
	w.shows(t, "?q=10.96.1.40:80", http.StatusOK, "1 of 41", "default/s40")
	w.shows(t, "?q=10.244.1.2", http.StatusOK, "41 of 41")
	w.shows(t, "?q=nobody", http.StatusOK, "0 of 41", "Nothing matches")
}

// Of a virtual server with very many endpoints those come first that do not simply serve.
func TestManyEndpoints(t *testing.T) {
	w := newWorld()
	var behind []service.Endpoint
	for i := range mostEndpoints + 5 {
		behind = append(behind, endpoint(fmt.Sprintf("10.244.1.%d", i+1), "n", ""))
	}
	key := w.add("default", "big", "10.96.0.80", behind...)
	used := w.usage[key]
	used.Servers = used.Servers[:len(used.Servers)-1]
	w.usage[key] = used
	w.shows(t, "", http.StatusOK, "and 5 more", "10.244.1.35:8080", "missing", "!10.244.1.30:8080")
}

func TestBadQueries(t *testing.T) {
	w := busyWorld()
	for query, want := range map[string]string{
		"?page=0": "from 1 to", "?page=-1": "from 1 to", "?page=x": "from 1 to", "?page=99999999999999999999": "from 1 to", "?page=1000001": "from 1 to",
		"?refresh=1": "from 2 to 3600", "?refresh=1h": "from 2 to 3600", "?page=1&page=2": "2 times", "?q=%ff": "q is", "?q=a%00b": "q is",
		"?q=" + strings.Repeat("a", mostWords+1): "201 bytes", "?q=%zz": "cannot be read", "?q=a;b": "cannot be read",
	} {
		answer := w.ask(t, http.MethodGet, query)
		if body := answer.Body.String(); answer.Code != http.StatusBadRequest || !strings.Contains(body, want) ||
			!strings.HasPrefix(answer.Header().Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %d, %s", query, answer.Code, body)
		}
	}
}

// HEAD has the head of GET and no body; other methods are refused.
func TestMethods(t *testing.T) {
	w := busyWorld()
	got, head := w.ask(t, http.MethodGet, ""), w.ask(t, http.MethodHead, "")
	if head.Code != http.StatusOK || head.Body.Len() > 0 || cmp.Diff(got.Header(), head.Header()) != "" {
		t.Errorf("HEAD: %d, %s, %v", head.Code, head.Body, head.Header())
	}
	if answer := w.ask(t, http.MethodPost, ""); answer.Code != http.StatusMethodNotAllowed || answer.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, %v", answer.Code, answer.Header())
	}
}

// Before the first round, and where IPVS cannot be read, the page says so and shows what it has.
func TestStates(t *testing.T) {
	w := newWorld()
	w.shows(t, "", http.StatusOK, "Not synced yet", "No Service is served", "none yet", "Last audit</dt><dd>never")
	w = busyWorld()
	w.err = errors.New("operation not permitted")
	w.history.StepDone(reconcile.StepSnapshot, w.err)
	w.shows(t, "", http.StatusServiceUnavailable, "cannot be shown: read IPVS: operation not permitted", "Fails at the moment: snapshot: operation",
		"no buffer space", "!Not synced")
	w.history.StepDone(reconcile.StepSnapshot, nil)
	w.err = nil
	w.shows(t, "", http.StatusOK, "!at the moment", "snapshot: operation not permitted")
}
