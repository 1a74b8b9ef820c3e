package behaviour

import (
	"fmt"
	"net/netip"
	"testing"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// virtualKinds are the kinds of address that are bound to kube-ipvs0.
func virtualKinds() []cluster.Kind {
	return []cluster.Kind{cluster.ClusterIP, cluster.ExternalIP, cluster.LoadBalancerIP}
}

// What listens on all of the node's addresses is not reached by a virtual one, which answers pings nevertheless. The
// node's own address serves as before (P16).
func TestB43_P16_HostPortsAndPing(t *testing.T) {
	t.Parallel()
	const hostPort = 7722
	s := sharedScene(t)
	service := s.AddService(t, "guarded")
	service.Expose(t)
	service.SetEndpoints(t, s.Endpoint(s.web))
	for _, protocol := range topology.Protocols() {
		backend.Start(t, s.Node.Netns, protocol, netip.AddrPortFrom(netip.IPv6Unspecified(), hostPort))
		if protocol != topology.SCTP { // whose socket takes both families
			backend.Start(t, s.Node.Netns, protocol, netip.AddrPortFrom(netip.IPv4Unspecified(), hostPort))
		}
	}
	ways := cluster.Ways(virtualKinds()...)
	s.await(t, service, "web", ways...)
	s.everyWay(t, ways, func(t *testing.T, way cluster.Way, from asker) {
		target := probe.To(way.Protocol, service.Address(way.Kind, way.Family), hostPort)
		if way.Protocol == topology.SCTP && way.Family == topology.IPv6 {
			unanswered(t, from.from, target)
		} else {
			refused(t, from.from, target)
		}
		for _, size := range []int{8, 1200} {
			if err := probe.Ping(t.Context(), from.from, target.AddrPort.Addr(), size, probe.DefaultTimeout); err != nil {
				t.Errorf("ping with %d bytes: %v", size, err)
			}
		}
		if way.Protocol != topology.UDP { // an answer from the unspecified address comes from any of the node's
			ask(t, from.from, probe.To(way.Protocol, s.Node.Address(way.Family), hostPort))
		}
	})
}

// A router on the way to the client has a narrower link. What it says of that reaches the endpoint, which sends
// smaller packets from then on.
func TestB43_PathMTU(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	service := s.AddService(t, "narrow")
	service.Expose(t)
	service.SetEndpoints(t, s.Endpoint(s.web))
	ways := cluster.Of(cluster.Ways(cluster.ExternalIP, cluster.LoadBalancerIP, cluster.NodePort), topology.TCP, topology.SCTP)
	s.await(t, service, "web", ways...)
	router := s.Node2
	for _, key := range []string{"all", "default", topology.UplinkName} {
		if err := router.SetSysctl("net/ipv4/conf/"+key+"/send_redirects", "0"); err != nil {
			t.Fatal(err)
		}
	}
	for _, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			s.building.Lock()
			client := s.AddClient(t, fmt.Sprintf("behind-%s-%s-%s", way.Kind, way.Protocol, way.Family))
			s.building.Unlock()
			addr := client.Address(way.Family)
			alone := netip.PrefixFrom(addr, addr.BitLen()).String()
			s.Node.RouteVia(t, netip.MustParsePrefix(alone), router)
			cluster.Run(t, router.Netns, "ip", "route", "add", alone, "dev", topology.UplinkName, "mtu", "1280")
			if way.Kind != cluster.NodePort {
				to := service.Address(way.Kind, way.Family)
				for _, host := range []*topology.Host{client, router} {
					host.RouteVia(t, netip.PrefixFrom(to, to.BitLen()), s.Node)
				}
			}
			target := service.Target(way)
			target.Request, target.Timeout = backend.Request{ReplyPadding: 64 << 10}, cluster.Patience
			ask(t, client.Netns, target)
		})
	}
}
