package reconcile_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// reports are the health checks that rounds have reported so far, and forgets them.
func (r *recorder) reports() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, round := range r.rounds {
		for _, check := range round.HealthChecks {
			var sockets []string
			for socket, count := range check.Sockets {
				sockets = append(sockets, fmt.Sprintf(" %s=%d", socket, count))
			}
			slices.Sort(sockets)
			lines = append(lines, check.Source+":"+check.Service.String()+strings.Join(sockets, ""))
		}
	}
	r.rounds = nil
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// checkedService has a healthCheckNodePort in both families and one endpoint here, one elsewhere.
func checkedService(name string, port uint16) (service.Service, service.Slice) {
	s := service.Service{
		Name: service.Name{Namespace: "default", Name: name}, Created: time.Unix(1, 0), Families: dataplane.Families(),
		VIPs:   service.VIPs{Cluster: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 1, byte(port)})}},
		Ports:  []service.Port{{Name: "a", Protocol: dataplane.TCP, Port: 80}},
		Policy: service.Policy{ExternalLocal: true, HealthCheckNodePort: port},
	}
	return s, service.Slice{Name: service.Name{Namespace: "default", Name: name + "-1"}, Service: name,
		Ports: []service.SlicePort{{Name: "a", Protocol: dataplane.TCP, Port: 8080}},
		Endpoints: []service.Endpoint{
			{Addr: netip.MustParseAddr("10.1.0.1"), Node: "node-1", Ready: true, Serving: true},
			{Addr: netip.MustParseAddr("10.1.0.2"), Node: "node-2", Ready: true, Serving: true},
		}}
}

// B41: a round reports the health checks that it changed, and no others.
func TestB41RoundsReportHealthChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, newFake(t), nil)
		expect := func(what, want string) {
			t.Helper()
			f.settle(time.Minute) // with an audit
			if got := f.observer.reports(); got != want {
				t.Errorf("%s: reported %q, want %q", what, got, want)
			}
		}
		web, slice := checkedService("web", 30001)
		plain, _ := checkedService("plain", 0)
		other, _ := checkedService("other", 30002)
		for _, s := range []service.Service{web, plain, other} {
			f.source.SetService(s)
		}
		f.source.SetSlice(slice)
		f.complete()
		const otherLine, webLine = "api:default/other 0.0.0.0:30002=0 [::]:30002=0", "api:default/web 0.0.0.0:30001=1 [::]:30001=0"
		expect("start", otherLine+"\n"+webLine)

		slice.Endpoints = slices.Clone(slice.Endpoints)
		slice.Endpoints[1].Ready = false
		f.source.SetSlice(slice)
		expect("an endpoint elsewhere", "")

		slice.Endpoints = slices.Clone(slice.Endpoints)
		slice.Endpoints[0].Ready, slice.Endpoints[0].Terminating = false, true
		f.source.SetSlice(slice)
		expect("terminating", "api:default/web 0.0.0.0:30001=0 [::]:30001=0")

		web.Policy.HealthCheckNodePort = 30003
		f.source.SetService(web)
		expect("another port", "api:default/web 0.0.0.0:30003=0 [::]:30003=0")

		f.source.SetNode(service.Node{Name: "node-1", Zone: "moved"})
		expect("all translated again", "")

		web.Policy.HealthCheckNodePort, web.Policy.ExternalLocal = 0, false
		f.source.SetService(web)
		f.source.DeleteService(other.Name)
		f.source.DeleteService(plain.Name)
		expect("policy and deletion", "api:default/other\napi:default/web")
	})
}

// B41: limited to some addresses of the node, health checks follow them.
func TestB41HealthChecksFollowTheNodesAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, o := newFake(t), options()
		var err error
		if o.NodePorts, err = service.ParseNodePortAddresses([]string{"192.0.2.0/24", "2001:db8::/32"}); err != nil {
			t.Fatal(err)
		}
		f := startWith(t, fake, fake, o)
		web, slice := checkedService("web", 30001)
		f.source.SetService(web)
		f.source.SetSlice(slice)
		f.complete()
		f.settle(time.Second)
		if got, want := f.observer.reports(), "api:default/web 192.0.2.10:30001=1"; got != want {
			t.Errorf("reported %q, want %q", got, want)
		}
		for _, addr := range []string{"192.0.2.11", "198.51.100.1", "2001:db8::1"} {
			if err := fake.AddNodeAddress(dataplane.NodeAddress{Addr: netip.MustParseAddr(addr), Interface: "eth0"}); err != nil {
				t.Fatal(err)
			}
		}
		f.settle(time.Minute)
		got := f.observer.reports()
		last := got[strings.LastIndex(got, "\n")+1:] // one report for each address, or one for some
		if want := "api:default/web 192.0.2.10:30001=1 192.0.2.11:30001=1 [2001:db8::1]:30001=0"; last != want {
			t.Errorf("reported %q, want %q in the end", got, want)
		}
	})
}
