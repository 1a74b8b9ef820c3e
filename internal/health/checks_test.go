package health_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-ipvs-proxy/internal/health"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// checks are ServiceChecks that run on loopback, until the test ends or stop is called.
type checks struct {
	*testing.T
	*health.ServiceChecks
	clock   *clocktesting.FakeClock
	healthy atomic.Bool
	stop    func() // returns when Run has

	mu       sync.Mutex
	problems map[string][]service.Problem // by object
}

func newChecks(t *testing.T) *checks {
	t.Helper()
	c := &checks{T: t, clock: clocktesting.NewFakeClock(time.Unix(0, 0)), problems: make(map[string][]service.Problem)}
	c.healthy.Store(true)
	c.ServiceChecks = health.NewServiceChecks(c.clock, c.healthy.Load, func(object string, problems []service.Problem) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.problems[object] = problems
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.ServiceChecks.Run(ctx) }()
	c.stop = func() { cancel(); <-done }
	t.Cleanup(c.stop)
	return c
}

// want reports that a Service, as old as created says, has count endpoints behind each of the sockets.
func (c *checks) want(name string, created int64, count int, at ...netip.AddrPort) {
	check := reconcile.HealthCheck{Source: "api", Service: service.Name{Namespace: "default", Name: name}, UID: "uid-of-" + name,
		Created: time.Unix(created, 0), Sockets: map[netip.AddrPort]int{}}
	for _, socket := range at {
		check.Sockets[socket] = count
	}
	c.RoundDone(reconcile.Round{HealthChecks: []reconcile.HealthCheck{check}})
}

// problemsOf are the present problems of a Service.
func (c *checks) problemsOf(name string) []service.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problems["healthCheckNodePort of Service default/"+name+" of source api"]
}

// troubles are the present problems, one a line.
func (c *checks) troubles(name string) string {
	var lines []string
	for _, problem := range c.problemsOf(name) {
		lines = append(lines, problem.Error())
	}
	return strings.Join(lines, "\n")
}

// await tries again until try returns nil.
func (c *checks) await(what string, try func() error) {
	c.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	c.Fatalf("%s: %v", what, err)
}

// get asks a socket and returns "STATUS WEIGHT NAME".
func get(at netip.AddrPort) (string, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + at.String() + "/any/path?at=all")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	_, name, _ := strings.Cut(string(body), `"name": "`)
	name, _, _ = strings.Cut(name, `"`)
	return fmt.Sprintf("%d %s %s", response.StatusCode, response.Header.Get("X-Load-Balancing-Endpoint-Weight"), name), err
}

// answers waits until a socket answers so.
func (c *checks) answers(at netip.AddrPort, want string) {
	c.Helper()
	c.await("ask "+at.String(), func() error {
		got, err := get(at)
		if err == nil && got != want {
			err = fmt.Errorf("it answers %q, want %q", got, want)
		}
		return err
	})
}

// closed waits until nobody listens.
func (c *checks) closed(at netip.AddrPort) {
	c.Helper()
	c.await("the end of "+at.String(), func() error {
		connection, err := net.Dial("tcp", at.String())
		if err != nil {
			return nil
		}
		_ = connection.Close()
		return fmt.Errorf("somebody listens")
	})
}

// free returns a socket of the loopback that nobody has. The tests of other packages, which run at the same time, take theirs at
// another address.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.77:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// B41: status, headers and body are kube-proxy's, byte by byte.
func TestB41AnswersAsKubeProxyDoes(t *testing.T) {
	c, at := newChecks(t), free(t)
	for _, step := range []struct {
		count, status int
		healthy       bool
	}{{2, 200, true}, {0, 503, true}, {2, 503, false}} {
		c.healthy.Store(step.healthy)
		c.want("web", 1, step.count, at)
		c.answers(at, fmt.Sprintf("%d %d web", step.status, step.count))
		response, err := http.Get("http://" + at.String())
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		want := fmt.Sprintf("{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t},\n"+
			"\t\"localEndpoints\": %d,\n\t\"serviceProxyHealthy\": %v\n}", step.count, step.healthy)
		if diff := cmp.Diff(want, string(body)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		for header, want := range map[string]string{"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"} {
			if got := response.Header.Get(header); got != want {
				t.Errorf("%s is %q, want %q", header, got, want)
			}
		}
	}
}

// B41: a change of numbers, and of who has the port, leaves listeners and connections alone.
func TestB41NumbersChangeUnderAListener(t *testing.T) {
	c, at := newChecks(t), free(t)
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	for i, step := range []func(){
		func() { c.want("web", 1, 1, at); c.answers(at, "200 1 web") },
		func() { c.want("web", 1, 3, at) },
		func() { c.want("web", 1, 0, at) },
		func() { c.want("older", 0, 5, at); c.answers(at, "200 5 older") },
	} {
		step()
		reused := false
		trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }}
		request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, "http://"+at.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if want := []string{"1", "3", "0", "5"}[i]; response.Header.Get("X-Load-Balancing-Endpoint-Weight") != want {
			t.Errorf("step %d: %v, want weight %s", i, response.Header, want)
		}
		if reused != (i > 0) {
			t.Errorf("step %d: the connection of before is used: %v", i, reused)
		}
	}
}

// B41: another port, another address, and none any more.
func TestB41PortsComeAndGo(t *testing.T) {
	c, first, second := newChecks(t), free(t), free(t)
	six := netip.AddrPortFrom(netip.IPv6Loopback(), first.Port())
	c.want("web", 1, 1, first)
	c.answers(first, "200 1 web")
	c.want("web", 1, 1, second)
	c.answers(second, "200 1 web")
	c.closed(first)
	c.want("web", 1, 1, first, six)
	c.answers(first, "200 1 web")
	c.answers(six, "200 1 web")
	c.closed(second)
	c.want("web", 1, 1, six)
	c.closed(first)
	c.answers(six, "200 1 web")
	c.want("web", 0, 0)
	c.closed(six)
	if text := c.troubles("web"); text != "" {
		t.Errorf("all went well, but there are problems: %s", text)
	}
}

// B41: all addresses of the node and one of them exclude each other; the port goes from the one to the other.
func TestB41FromAllAddressesToOne(t *testing.T) {
	c, one := newChecks(t), free(t)
	all := netip.AddrPortFrom(netip.IPv4Unspecified(), one.Port())
	for range 3 {
		c.want("web", 1, 1, all)
		c.answers(one, "200 1 web")
		c.want("web", 1, 2, one)
		c.answers(one, "200 2 web")
		c.closed(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), one.Port()))
	}
	if text := c.troubles("web"); text != "" {
		t.Error(text)
	}
}
