package behaviour

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// internalLocal and externalLocal give a Service the policy Local, for the clients of either side.
func internalLocal(c *corev1.Service) {
	local := corev1.ServiceInternalTrafficPolicyLocal
	c.Spec.InternalTrafficPolicy = &local
}

func externalLocal(c *corev1.Service) {
	c.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

// Unready endpoints get nothing unless they are published; terminating ones that still serve get something only as long
// as none is ready.
func TestB22_Readiness(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	web, far := s.Endpoint(s.web), s.Endpoint(s.far)
	service := s.AddService(t, "readiness")
	service.Expose(t)
	all := s.some()
	for _, step := range []struct {
		when      string
		endpoints []cluster.Endpoint
		published bool
		want      []string
	}{
		{"web unready", []cluster.Endpoint{web.Unready(), far}, false, []string{"far"}},
		{"both unready and published", []cluster.Endpoint{web.Published(), far.Published()}, true, []string{"web", "far"}},
		{"published no more", []cluster.Endpoint{web.Unready(), far}, false, []string{"far"}},
		{"far terminating, web unready", []cluster.Endpoint{web.Unready(), far.Terminating()}, false, []string{"far"}},
		{"both terminating", []cluster.Endpoint{web.Terminating(), far.Terminating()}, false, []string{"web", "far"}},
		{"far shut down", []cluster.Endpoint{web.Terminating(), far.Ended()}, false, []string{"web"}},
		{"far ready", []cluster.Endpoint{web.Terminating(), far}, false, []string{"far"}},
		{"web ready", []cluster.Endpoint{web, far.Terminating()}, false, []string{"web"}},
	} {
		if service.Spec.PublishNotReadyAddresses != step.published {
			service.Update(t, func(c *corev1.Service) { c.Spec.PublishNotReadyAddresses = step.published })
		}
		service.SetEndpoints(t, step.endpoints...)
		s.Settle(t)
		servedBy(t, step.when, service, all, step.want...)
	}
}

// Under internalTrafficPolicy Local, pods and the node itself reach the endpoints on their node only, those in the host
// network too. Are there none, packets are dropped; are there none anywhere, they are refused. Other addresses of the
// Service are not concerned.
func TestB23_InternalTrafficPolicyLocal(t *testing.T) {
	t.Parallel()
	const hostPort = 8023
	s := sharedScene(t)
	for _, host := range []*topology.Host{s.Node, s.Node2} {
		backend.StartAll(t, host.Netns, hostPort, topology.Protocols()...)
	}
	service, hosts := s.AddService(t, "local", internalLocal), s.AddService(t, "local-hosts", internalLocal)
	service.Expose(t)
	inside := s.questions(cluster.Ways(cluster.ClusterIP))
	others := s.questions(cluster.Ways(cluster.NodePort, cluster.ExternalIP, cluster.LoadBalancerIP))

	hosts.SetPart(t, cluster.Part{TargetPort: hostPort, Endpoints: []cluster.Endpoint{s.HostEndpoint(s.Node2)}})
	service.SetEndpoints(t, s.Endpoint(s.far))
	s.Settle(t)
	dropped(t, "no endpoint on this node", service, inside)
	dropped(t, "no host-network endpoint on this node", hosts, inside)
	servedBy(t, "no endpoint on this node", service, others, "far")

	hosts.SetPart(t, cluster.Part{TargetPort: hostPort, Endpoints: []cluster.Endpoint{s.HostEndpoint(s.Node2), s.HostEndpoint(s.Node)}})
	service.SetEndpoints(t, s.both()...)
	s.Settle(t)
	servedBy(t, "an endpoint on each node", service, inside, "web")
	servedBy(t, "a host-network endpoint on each node", hosts, inside, "node-1:8023")
	servedBy(t, "hairpin", service, hairpin(s.web), "web")
	servedBy(t, "an endpoint on each node", service, others, "web", "far")

	hosts.SetPart(t, cluster.Part{TargetPort: hostPort, Endpoints: []cluster.Endpoint{s.HostEndpoint(s.Node2)}})
	service.SetEndpoints(t, s.Endpoint(s.far))
	s.Settle(t)
	// The node's own packets meet the virtual server, which is there as long as web has connections, before the filter.
	pods := s.questions(cluster.Ways(cluster.ClusterIP), "pod")
	dropped(t, "the endpoint gone from this node", service, pods)
	dropped(t, "the host-network endpoint gone from this node", hosts, pods)
	for _, q := range inside {
		unanswered(t, q.from.from, service.Target(q.way))
	}

	service.SetEndpoints(t)
	s.refusedEveryWay(t, "evicted", service, cluster.Ways(cluster.ClusterIP))
}

// Terminating endpoints that still serve stand in for ready ones, under each policy for itself: under Local for those on
// this node, under Cluster for all.
func TestB25_TerminatingEndpoints(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	third := s.Endpoint(s.addServer(t, s.Node, "third"))
	web, far := s.Endpoint(s.web), s.Endpoint(s.far)
	everywhere, local := s.AddService(t, "terminating"), s.AddService(t, "terminating-local", internalLocal)
	everywhere.Expose(t)
	local.Expose(t)
	local.Update(t, externalLocal)
	// Who is inside reaches the external addresses of a Service with externalTrafficPolicy Local by other rules.
	asked, outside := s.some(), s.someOutside()
	for _, step := range []struct {
		when      string
		endpoints []cluster.Endpoint
		cluster   []string
		local     []string // none if packets are dropped
	}{
		{when: "web shut down", endpoints: []cluster.Endpoint{web.Ended(), far}, cluster: []string{"far"}},
		{when: "web unready, far terminating", endpoints: []cluster.Endpoint{web.Unready(), far.Terminating()}, cluster: []string{"far"}},
		{when: "web terminating", endpoints: []cluster.Endpoint{web.Terminating(), far},
			cluster: []string{"far"}, local: []string{"web"}},
		{when: "both terminating", endpoints: []cluster.Endpoint{web.Terminating(), far.Terminating()},
			cluster: []string{"web", "far"}, local: []string{"web"}},
		{when: "a ready one beside web", endpoints: []cluster.Endpoint{web.Terminating(), third, far},
			cluster: []string{"third", "far"}, local: []string{"third"}},
		{when: "all terminating", endpoints: []cluster.Endpoint{web.Terminating(), third.Terminating(), far.Terminating()},
			cluster: []string{"web", "third", "far"}, local: []string{"web", "third"}},
	} {
		everywhere.SetEndpoints(t, step.endpoints...)
		local.SetEndpoints(t, step.endpoints...)
		s.Settle(t)
		servedBy(t, "Cluster, "+step.when, everywhere, asked, step.cluster...)
		if step.local == nil {
			dropped(t, "Local, "+step.when, local, asked)
			continue
		}
		servedBy(t, "Local, "+step.when, local, asked, step.local...)
	}
	for _, service := range []*cluster.Service{everywhere, local} {
		service.SetEndpoints(t, web.Ended(), far.Ended())
	}
	s.Settle(t)
	for _, service := range []*cluster.Service{everywhere, local} {
		refusedAll(t, service, outside)
		refusedAll(t, service, s.questions(cluster.Ways(cluster.ClusterIP), "pod"))
	}
}

// hinted is one step of TestB26: hints, what the Service says of them, and who serves.
type hinted struct {
	when         string
	distribution string // the Service's trafficDistribution, of which only the hints count here
	endpoints    []cluster.Endpoint
	want         []string
}

// Hints choose the endpoints for this node or else for its zone, provided that every ready one has some and one of them
// fits. (They are written into the slices here as the controller does for a trafficDistribution.)
func TestB26_TopologyHints(t *testing.T) {
	t.Parallel()
	s := sharedScene(t)
	service := s.AddService(t, "hinted")
	service.Expose(t)
	clusterIP := s.questions(cluster.Ways(cluster.ClusterIP), "pod")
	outside := s.questions(cluster.Of(cluster.Ways(cluster.NodePort), topology.TCP), "outside")
	all := slices.Concat(clusterIP, outside)
	for _, step := range append(s.zoneHints(), s.nodeHints()...) {
		service.Update(t, func(c *corev1.Service) { c.Spec.TrafficDistribution = &step.distribution })
		service.SetEndpoints(t, step.endpoints...)
		s.Settle(t)
		servedBy(t, step.when, service, all, step.want...)
	}

	web, far := s.Endpoint(s.web), s.Endpoint(s.far)
	here, there := cluster.Zone(s.Node), cluster.Zone(s.Node2)
	service.SetEndpoints(t, web.ForZones(there), far.ForZones(here))
	service.Update(t, internalLocal)
	s.Settle(t)
	servedBy(t, "internalTrafficPolicy Local has no use for hints", service, clusterIP, "web")
	servedBy(t, "internalTrafficPolicy Local elsewhere", service, outside, "far")

	service.Update(t, func(c *corev1.Service) { c.Spec.InternalTrafficPolicy = nil })
	service.SetEndpoints(t, web.ForZones(here), far.ForZones(there))
	for _, step := range []struct{ zone, want string }{{here, "web"}, {there, "far"}, {here, "web"}} {
		s.MoveNode(t, s.Node, step.zone)
		for _, q := range clusterIP {
			cluster.AwaitAnswer(t, q.from.from, service.Target(q.way), step.want)
		}
		s.Settle(t) // the other addresses may come later in the round
		servedBy(t, "the node in "+step.zone, service, all, step.want)
	}
}

// zoneHints are the steps with hints for zones.
func (s *scene) zoneHints() []hinted {
	web, far, here, there := s.Endpoint(s.web), s.Endpoint(s.far), cluster.Zone(s.Node), cluster.Zone(s.Node2)
	both := []string{"web", "far"}
	const close, zone = corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone
	return []hinted{
		{"no hints", close, []cluster.Endpoint{web, far}, both},
		{"each for its zone", close, []cluster.Endpoint{web.ForZones(here), far.ForZones(there)}, both[:1]},
		{"each for the other's zone", zone, []cluster.Endpoint{web.ForZones(there), far.ForZones(here)}, both[1:]},
		{"one for both zones", zone, []cluster.Endpoint{web.ForZones(there), far.ForZones(there, here)}, both[1:]},
		{"all for this zone", zone, []cluster.Endpoint{web.ForZones(here), far.ForZones(here)}, both},
		{"one without hints", zone, []cluster.Endpoint{web.ForZones(here), far}, both},
		{"none for this zone", zone, []cluster.Endpoint{web.ForZones(there), far.ForZones("nowhere")}, both},
		{"an unready one without hints", zone,
			[]cluster.Endpoint{web.ForZones(here), far.ForZones(there), s.Endpoint(s.client).Unready()}, both[:1]},
		{"the one for this zone unready", zone, []cluster.Endpoint{web.ForZones(here).Unready(), far.ForZones(there)}, both[1:]},
		{"all terminating", zone, []cluster.Endpoint{web.ForZones(here).Terminating(), far.ForZones(there).Terminating()}, both},
	}
}

// nodeHints are the steps with hints for nodes, and for zones beside them as the controller writes them.
func (s *scene) nodeHints() []hinted {
	web, far, here, there := s.Endpoint(s.web), s.Endpoint(s.far), cluster.Zone(s.Node), cluster.Zone(s.Node2)
	one, two := s.NodeName(s.Node), s.NodeName(s.Node2)
	both := []string{"web", "far"}
	const node = corev1.ServiceTrafficDistributionPreferSameNode
	return []hinted{
		{"each for its node", node, []cluster.Endpoint{web.ForNodes(one), far.ForNodes(two)}, both[:1]},
		{"nodes before zones", node, []cluster.Endpoint{web.ForZones(here).ForNodes(two), far.ForZones(there).ForNodes(one)}, both[1:]},
		{"nodes within one zone", node, []cluster.Endpoint{web.ForZones(here).ForNodes(one), far.ForZones(here).ForNodes(two)}, both[:1]},
		{"none for this node", node, []cluster.Endpoint{web.ForZones(there).ForNodes(two), far.ForZones(here).ForNodes(two)}, both[1:]},
		{"one without hints for nodes", node, []cluster.Endpoint{web.ForZones(here).ForNodes(one), far.ForZones(there)}, both[:1]},
		{"none for this node nor this zone", node, []cluster.Endpoint{web.ForZones(there).ForNodes(two), far.ForZones("nowhere").ForNodes(two)}, both},
		{"one without any hints", node, []cluster.Endpoint{web, far.ForZones(here).ForNodes(one)}, both},
	}
}
