package reconcile_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// contest is two Services that want the same.
type contest struct {
	first, second func(*service.Service) // what the older (or, at the same age, the one first by name) is, and the other
	about         netip.AddrPort         // what both want
	field, value  string                 // where the other one is told that it lost
	says          string                 // what it is told of the winner
}

const publicIP = "203.0.113.1"

func external(addr string) func(*service.Service) {
	return func(s *service.Service) { s.VIPs.External = []netip.Addr{netip.MustParseAddr(addr)} }
}

func onNodePort(s *service.Service) { s.Ports[0].NodePort = 30080 }

// onlyPort makes a Service one on a port number and an external IP.
func onlyPort(number uint16, addr string) func(*service.Service) {
	return func(s *service.Service) {
		s.Ports[0].Port = number
		external(addr)(s)
	}
}

func balanced(s *service.Service) {
	s.VIPs.LoadBalancer = []netip.Addr{netip.MustParseAddr(publicIP)}
}

func contests() map[string]contest {
	public, nodePort := netip.MustParseAddrPort(publicIP+":80"), netip.AddrPortFrom(nodeAddress, 30080)
	plain := func(*service.Service) {}
	return map[string]contest{
		"the same external IP": {external(publicIP), external(publicIP), public,
			"spec.externalIPs", "203.0.113.1:80/TCP", "(spec.externalIPs)"},
		"an external IP that is a load balancer's": {balanced, external(publicIP), public,
			"spec.externalIPs", "203.0.113.1:80/TCP", "(status.loadBalancer.ingress)"},
		"an external IP that is a ClusterIP": {plain, external("10.96.0.1"), netip.AddrPortFrom(webKey.Addr, webKey.Port),
			"spec.externalIPs", "10.96.0.1:80/TCP", "(spec.clusterIPs)"},
		"a ClusterIP that is an older external IP": {external("10.96.0.2"), plain, netip.MustParseAddrPort("10.96.0.2:80"),
			"spec.clusterIPs", "10.96.0.2:80/TCP", "(spec.externalIPs)"},
		"the same NodePort": {onNodePort, onNodePort, nodePort,
			"spec.ports[0].nodePort", "30080/TCP", "another nodePort"},
		"an external IP of the node on a NodePort": {onNodePort, onlyPort(30080, nodeAddress.String()), nodePort,
			"spec.externalIPs", nodePort.String() + "/TCP", "(spec.ports[0].nodePort)"},
		"a NodePort on an older external IP of the node": {onlyPort(30080, nodeAddress.String()), onNodePort, nodePort,
			"spec.ports[0].nodePort", nodePort.String() + "/TCP", "(spec.externalIPs)"},
	}
}

// Of two Services that want the same, the older one wins, whichever arrived first; at the same age the name counts. The
// other is told what it lost, by which field and to whom, and takes over when the winner goes.
func TestContests(t *testing.T) {
	for name, c := range contests() {
		for _, sameAge := range []bool{false, true} {
			for _, otherFirst := range []bool{false, true} {
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { c.hold(t, sameAge, otherFirst) })
				})
			}
		}
	}
}

func (c contest) hold(t *testing.T, sameAge, otherFirst bool) {
	complaints, f, sources := observed(t, "manifests")
	f.source = sources[0]
	winner, loser := web("a", "10.96.0.1", 0), web("b", "10.96.0.2", 0)
	because := "being as old"
	if !sameAge {
		winner.Name, loser.Name = loser.Name, winner.Name // the name would decide otherwise
		winner.Created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		loser.Created = winner.Created.Add(time.Second)
		because = "being older"
	}
	loser.UID = "uid-of-the-loser"
	c.first(&winner)
	c.second(&loser)
	order := []service.Service{winner, loser}
	if otherFirst {
		order[0], order[1] = order[1], order[0]
	}
	f.source.SetSlice(slice(winner.Name.Name, "10.1.0.1"))
	f.source.SetSlice(slice(loser.Name.Name, "10.1.0.2"))
	for _, svc := range order {
		f.source.SetService(svc)
		f.settle(2 * time.Second) // what the other one had drains for a moment
	}
	key := dataplane.KeyOf(dataplane.TCP, c.about.Addr(), c.about.Port())
	f.expectReals(key, map[string]uint32{"10.1.0.1": 1})
	c.told(t, complaints, winner, loser, because)

	f.source.DeleteService(winner.Name)
	f.settle(2 * time.Second)
	f.expectReals(key, map[string]uint32{"10.1.0.2": 1})
	if got := complaints.losses(); got != "" {
		t.Errorf("alone, the other Service is told %q", got)
	}
	f.source.SetService(winner)
	f.settle(2 * time.Second)
	f.expectReals(key, map[string]uint32{"10.1.0.1": 1})
	c.told(t, complaints, winner, loser, because)
}

// told checks that the loser, and nobody else, is told that it lost, once.
func (c contest) told(t *testing.T, complaints *complaints, winner, loser service.Service, because string) {
	t.Helper()
	if got, want := complaints.losses(), loser.Name.Name+"<"+winner.Name.Name; got != want {
		t.Fatalf("the losers are %q, want %q", got, want)
	}
	for _, problem := range complaints.conflicts() {
		if problem.Object != "Service "+loser.Name.String() || problem.UID != loser.UID || problem.Field != c.field || problem.Value != c.value {
			t.Errorf("the loser is told %+v, want it to be of its %s %s", problem, c.field, c.value)
		}
		for _, text := range []string{"Service " + winner.Name.String() + " ", c.says, because, "give one of them another"} {
			if !strings.Contains(problem.Reason, text) {
				t.Errorf("the loser is told %q, which lacks %q", problem.Reason, text)
			}
		}
	}
}

// Services of the same name in two sources are told apart.
func TestContestOfTwoSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		complaints, f, sources := observed(t, "api", "manifests")
		sources[0].SetService(web("web", "10.96.0.1", 0))
		sources[1].SetService(web("web", "10.96.0.1", 0))
		f.settle(0)
		if got, want := complaints.losses(), "web<web of source api"; got != want {
			t.Fatalf("the losers are %q, want %q", got, want)
		}
		sources[0].DeleteService(service.Name{Namespace: "default", Name: "web"})
		f.settle(0)
		if got := complaints.losses(); got != "" {
			t.Errorf("alone, the other Service is told %q", got)
		}
	})
}

// Addresses that cannot be a Service's alone are its own problem: it is served at its others, and told.
func TestAddressesThatCannotBeServed(t *testing.T) {
	for addr, c := range map[string]struct {
		served bool
		says   string
	}{
		"127.0.0.1":          {false, "loopback"},
		"224.0.0.251":        {false, "multicast"},
		nodeAddress.String(): {true, "not bound"},
	} {
		t.Run(addr, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				complaints, f, sources := observed(t, "api")
				svc, _, problems := service.FromService(&corev1.Service{
					ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
					Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", ExternalIPs: []string{addr},
						Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
				})
				sources[0].Report("Service default/web", problems)
				sources[0].SetService(svc)
				sources[0].SetSlice(slice("web", "10.1.0.1"))
				f.settle(0)
				f.expectReals(webKey, map[string]uint32{"10.1.0.1": 1})
				key := dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr(addr), 80)
				if served := len(f.reals(key)) > 0; served != c.served || f.bound(addr) {
					t.Errorf("served there: %v, want %v; bound: %v, want it never", served, c.served, f.bound(addr))
				}
				if got := complaints.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "spec.externalIPs") || !strings.Contains(got, c.says) {
					t.Errorf("the Service is told %q, want one line with %q", got, c.says)
				}
			})
		})
	}
}
