package reconcile_test

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// B41: where a NodePort is served, IPVS takes the packets that a health check at the same port is to answer. The older of
// two such Services has the port; the other is told, and takes over when that one goes. Of the same number on another
// protocol, nobody is the worse.
func TestB41HealthCheckNodePortThatIsANodePort(t *testing.T) {
	for _, c := range []struct {
		name                       string
		checkedIsOlder, otherFirst bool
	}{
		{"an older NodePort", false, false}, {"an older NodePort that comes later", false, true},
		{"an older check", true, true}, {"an older check that comes later", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { holdReserved(t, c.checkedIsOlder, c.otherFirst) })
		})
	}
}

func holdReserved(t *testing.T, checkedIsOlder, otherFirst bool) {
	complaints, f, sources := observed(t, "api")
	f.source = sources[0]
	checked, endpoints := checkedService("checked", 30080)
	ported := web("ported", "10.96.0.1", 30080)
	checked.Created, ported.Created = time.Unix(2, 0), time.Unix(1, 0)
	if checkedIsOlder {
		checked.Created, ported.Created = ported.Created, checked.Created
	}
	f.source.SetSlice(endpoints)
	f.source.SetSlice(slice("ported", "10.1.0.9"))
	order := []service.Service{ported, checked}
	if otherFirst != checkedIsOlder {
		order[0], order[1] = order[1], order[0]
	}
	for _, svc := range order {
		f.source.SetService(svc)
		f.settle(2 * time.Second)
	}
	wantLoss, field, gone := "checked<ported", "spec.healthCheckNodePort", ported.Name
	if checkedIsOlder {
		wantLoss, field, gone = "ported<checked", "spec.ports[0].nodePort", checked.Name
	}
	if got := complaints.losses(); got != wantLoss {
		t.Errorf("the losers are %q, want %q: %s", got, wantLoss, complaints)
	}
	for _, problem := range complaints.conflicts() {
		if problem.Field != field || problem.Value != "30080/TCP" || !strings.Contains(problem.Reason, "being older") || !strings.Contains(problem.Reason, "another port") {
			t.Errorf("the loser is told %+v", problem)
		}
	}
	f.expectServer(t, !checkedIsOlder)
	lastReport(t, complaints, checkedIsOlder)

	f.source.DeleteService(gone)
	f.settle(2 * time.Second)
	if got := complaints.losses(); got != "" {
		t.Errorf("alone, the other Service is told %q", got)
	}
	f.expectServer(t, checkedIsOlder)
	if !checkedIsOlder {
		lastReport(t, complaints, true)
	} else if report := complaints.reports(); !strings.HasSuffix(report, "\napi:default/checked 0.0.0.0:30080=1 [::]:30080=0") || !strings.HasPrefix(report, "api:default/checked\n") {
		t.Errorf("the check, which is gone, was reported as %q", report)
	}
}

// expectServer checks whether the NodePort is served, and what it leads to.
func (f *fixture) expectServer(t *testing.T, served bool) {
	t.Helper()
	reals := f.reals(dataplane.KeyOf(dataplane.TCP, nodeAddress, 30080))
	if served && reals["10.1.0.9"] == 0 || !served && len(reals) > 0 {
		t.Errorf("the NodePort leads to %v; want it served: %v", reals, served)
	}
	for _, pool := range f.kernel.Objects().Pools {
		if pool.Key == dataplane.KeyOf(dataplane.TCP, nodeAddress, 30080) && !served {
			t.Errorf("there is a virtual server %s", pool.VirtualServer)
		}
	}
}

// lastReport checks where the check is answered since its last report: at IPv4, for which there is the NodePort too, or at
// IPv6 only.
func lastReport(t *testing.T, c *complaints, answered bool) {
	t.Helper()
	var last map[netip.AddrPort]int
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, round := range c.rounds {
		for _, check := range round.HealthChecks {
			last = check.Sockets
		}
	}
	want := map[netip.AddrPort]int{netip.MustParseAddrPort("[::]:30080"): 0}
	if answered {
		want[netip.MustParseAddrPort("0.0.0.0:30080")] = 1
	}
	if !maps.Equal(last, want) {
		t.Errorf("the check is answered at %v, want %v", last, want)
	}
}

// The same number on another protocol, and at addresses on which no NodePorts are served, is nobody's loss.
func TestHealthCheckNodePortBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		complaints, f, sources := observed(t, "api")
		f.source = sources[0]
		checked, endpoints := checkedService("checked", 30080)
		ported := web("ported", "10.96.0.1", 30080)
		ported.Ports[0].Protocol = dataplane.UDP
		inside := web("inside", "10.96.0.2", 0)
		inside.Ports[0].Port = 30080
		f.source.SetSlice(endpoints)
		for _, svc := range []service.Service{ported, inside, checked} {
			f.source.SetService(svc)
		}
		f.settle(time.Second)
		if got := complaints.losses(); got != "" {
			t.Errorf("told %q", got)
		}
		lastReport(t, complaints, true)
		served := map[dataplane.VirtualServerKey]bool{}
		f.source.SetSlice(service.Slice{Name: service.Name{Namespace: "default", Name: "u"}, Service: "ported",
			Ports:     []service.SlicePort{{Name: "http", Protocol: dataplane.UDP, Port: 53}},
			Endpoints: []service.Endpoint{{Addr: netip.MustParseAddr("10.1.0.9"), Ready: true, Serving: true}}})
		f.settle(time.Second)
		for _, pool := range f.kernel.Objects().Pools {
			served[pool.Key] = true
		}
		if !served[dataplane.KeyOf(dataplane.UDP, nodeAddress, 30080)] {
			t.Errorf("the NodePort of the other protocol is not served: %v", served)
		}
	})
}
