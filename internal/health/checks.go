package health

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// ServiceChecks answers the healthCheckNodePorts of Services, by what rounds of the reconciler report. Its methods are
// safe for concurrent use.
type ServiceChecks struct {
	clock   clock.Clock
	healthy func() bool
	report  func(object string, problems []service.Problem)
	wake    chan struct{}

	mu     sync.Mutex
	claims claims
	todo   todo
}

// todo is what Run has to look at.
type todo struct {
	sockets  map[netip.AddrPort]struct{} // wanted by other Services than before
	services map[claimant]struct{}       // which want something else than before
	broken   map[*listener]error
}

func newTodo() todo {
	return todo{make(map[netip.AddrPort]struct{}), make(map[claimant]struct{}), make(map[*listener]error)}
}

var _ reconcile.Observer = (*ServiceChecks)(nil)

// NewServiceChecks returns ServiceChecks that listen once they Run. They answer as kube-proxy does: a Service is fine here
// if it has a ready endpoint on this node and the proxy is healthy. What keeps a port from being opened is reported as
// the problems of an object, from one goroutine at a time, and none when it is over.
func NewServiceChecks(c clock.Clock, healthy func() bool, report func(object string, problems []service.Problem)) *ServiceChecks {
	return &ServiceChecks{clock: c, healthy: healthy, report: report, wake: make(chan struct{}, 1),
		claims: newClaims(), todo: newTodo()}
}

// RoundDone implements reconcile.Observer.
func (c *ServiceChecks) RoundDone(round reconcile.Round) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, check := range round.HealthChecks {
		changed := c.claims.set(check)
		for _, socket := range changed {
			c.todo.sockets[socket] = struct{}{}
		}
		if len(changed) > 0 {
			c.todo.services[claimant{check.Source, check.Service}] = struct{}{}
			c.notify()
		}
	}
}

// Queued implements reconcile.Observer.
func (c *ServiceChecks) Queued(time.Time) {}

// StepDone implements reconcile.Observer.
func (c *ServiceChecks) StepDone(reconcile.Step, error) {}

// Audited implements reconcile.Observer.
func (c *ServiceChecks) Audited(reconcile.Audit) {}

// Problems implements reconcile.Observer.
func (c *ServiceChecks) Problems(string, []service.Problem) {}

// NodeChanged implements reconcile.Observer: a node that is about to go still answers for its endpoints, as in kube-proxy.
func (c *ServiceChecks) NodeChanged(service.Node) {}

func (c *ServiceChecks) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// broke takes note that a listener ended, and why. Those that Run closed are among them.
func (c *ServiceChecks) broke(l *listener, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.todo.broken[l] = err
	c.notify()
}

// Run listens until the context ends. When it returns, every port is closed and no request is under way; that takes a
// second at most.
func (c *ServiceChecks) Run(ctx context.Context) {
	s := &sockets{clock: c.clock, handler: c.handler, broke: c.broke,
		open: make(map[netip.AddrPort]*listener), failing: make(map[netip.AddrPort]attempt)}
	defer s.close()
	troubled := make(map[claimant]struct{})
	for {
		c.pass(s, troubled)
		timer := c.clock.NewTimer(s.untilDue())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-c.wake:
		case <-timer.C():
		}
		timer.Stop()
	}
}

// checkAnswer is the JSON body of kube-proxy's answers.
type checkAnswer struct {
	Service        checkedService `json:"service"`
	LocalEndpoints int            `json:"localEndpoints"`
	ProxyHealthy   bool           `json:"serviceProxyHealthy"`
}

type checkedService struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// handler answers, on any path, for the Service that has the socket when it is asked.
func (c *ServiceChecks) handler(at netip.AddrPort) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		winner, found := c.claims.winner(at)
		c.mu.Unlock()
		if !found {
			http.Error(w, "this port was a Service's healthCheckNodePort and is about to be closed", http.StatusServiceUnavailable)
			return
		}
		healthy := c.healthy()
		// Indented by tabs, as kube-proxy's; of these types, nothing can fail.
		body, _ := json.MarshalIndent(checkAnswer{checkedService{winner.service.Namespace, winner.service.Name}, winner.count, healthy}, "", "\t")
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(winner.count))
		if winner.count == 0 || !healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(body) // the client has gone when writing fails; there is nobody to tell
	})
}
