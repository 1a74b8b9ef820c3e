package differential

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// scenario is a case for one kind of Service.
type scenario struct {
	name string
	// uses names the rules that it needs, all of them.
	uses []string
	// steps makes the writes, of Services with numbers from the given one to nine more.
	steps func(n int) [][]Op
}

// Names of rules that scenarios use.
const (
	ruleEmpty    = "no empty virtual server"
	ruleRemote   = "no remote endpoints under the policy Local"
	ruleBuckets  = "bucket size"
	ruleHealth   = "health-check ports without NodePort addresses"
	ruleFallback = "fall-back of sh and mh"
	ruleOther    = "addresses of other nodes are not bound"
	ruleSources  = "source range of length 0"
)

var (
	here      = where{1}
	elsewhere = where{2}
	anywhere  = where{1, 2}
)

// scenarios run all at once on the same two proxies: step by step, each with numbers of its own.
func scenarios() []scenario {
	return slices.Concat(kindScenarios(), addressScenarios(), policyScenarios(), endpointScenarios(), changeScenarios())
}

func kindScenarios() []scenario {
	return []scenario{
		{name: "ClusterIP", steps: func(n int) [][]Op {
			return [][]Op{
				append(served(n, anywhere), aService(n, allProtocols), aService(n+1, single)),
				append(served(n, elsewhere), served(n+1, here)...),
			}
		}, uses: []string{ruleEmpty, noEndpoints}},
		{name: "NodePort", steps: func(n int) [][]Op {
			return [][]Op{append(served(n, anywhere), aService(n, allProtocols, ofType(n, corev1.ServiceTypeNodePort)))}
		}},
		{name: "LoadBalancer", steps: func(n int) [][]Op {
			proxied := func(s *corev1.Service) {
				s.Status.LoadBalancer.Ingress[0].IPMode = ptr.To(corev1.LoadBalancerIPModeProxy)
				s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{Hostname: "lb.example"})
			}
			withoutPorts := func(s *corev1.Service) {
				s.Spec.AllocateLoadBalancerNodePorts, s.Spec.Ports[0].NodePort = ptr.To(false), 0
			}
			balancer := corev1.ServiceTypeLoadBalancer
			return [][]Op{
				slices.Concat(served(n, anywhere), served(n+1, anywhere), served(n+2, anywhere), []Op{aService(n, single, allProtocols, ofType(n, balancer)),
					aService(n+1, ofType(n+1, balancer), proxied), aService(n+2, single, ofType(n+2, balancer), withoutPorts)}),
			}
		}},
	}
}

func addressScenarios() []scenario {
	return []scenario{
		{name: "source ranges", steps: func(n int) [][]Op {
			ranges := func(number int, list ...string) Op {
				return aService(number, ofType(number, corev1.ServiceTypeLoadBalancer), func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = list })
			}
			return [][]Op{
				slices.Concat(served(n, anywhere), served(n+1, anywhere), served(n+2, anywhere), []Op{
					ranges(n, "192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"), ranges(n+1, "172.18.0.0/24", "fd00:172:18::/64"),
					ranges(n+2, "0.0.0.0/0", "192.0.2.0/24", "::/0")}),
				{ranges(n, "192.0.2.128/25"), ranges(n + 1), ranges(n+2, "0.0.0.0/0", "172.18.0.0/24")},
			}
		}, uses: []string{ruleSources}},
		{name: "externalIPs", steps: func(n int) [][]Op {
			external := func(number int, list ...string) Op {
				return aService(number, func(s *corev1.Service) {
					s.Spec.ExternalIPs, s.Spec.Ports[0].Port = list, ownPort(number, 0)
				})
			}
			four, six := corev1.IPv4Protocol, corev1.IPv6Protocol
			return [][]Op{
				slices.Concat(served(n, anywhere), served(n+1, anywhere), served(n+2, anywhere), served(n+3, anywhere), []Op{
					external(n, externalIP(n, four), externalIP(n, six), sharedIP(four)), external(n+1, sharedIP(four)),
					external(n+2, nodeIP(1, four), nodeIP(1, six)), external(n+3, nodeIP(2, four), nodeIP(2, six))}),
				{external(n, externalIP(n, four)), external(n+2, nodeIP(1, six), nodeIP(2, four))},
			}
		}, uses: []string{ruleOther, nodePortIPs}}, // one of them is an address of the node
		{name: "headless, ExternalName, of others", steps: func(n int) [][]Op {
			headless := func(s *corev1.Service) {
				s.Spec.ClusterIP, s.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
			}
			external := func(s *corev1.Service) {
				s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "elsewhere.example"}
			}
			other := func(s *corev1.Service) {
				s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
			}
			return [][]Op{
				slices.Concat(served(n, anywhere), served(n+1, anywhere), served(n+2, anywhere),
					[]Op{aService(n, headless), aService(n+1, external), aService(n+2, other)}),
				{aService(n + 1), aService(n + 2)},
				{aService(n+1, external), aService(n+2, other)},
			}
		}},
		{name: "affinity", steps: func(n int) [][]Op {
			return [][]Op{
				append(served(n, anywhere), aService(n, single, exposed(n), sticky(60))),
				{aService(n, single, exposed(n), sticky(86400))},
				{aService(n, single, exposed(n))},
			}
		}},
	}
}

func policyScenarios() []scenario {
	local := func(n int, changes ...func(*corev1.Service)) Op {
		return aService(n, append(changes, exposed(n), externalLocal(n))...)
	}
	inside := func(n int, changes ...func(*corev1.Service)) Op {
		return aService(n, append([]func(*corev1.Service){internalLocal}, changes...)...)
	}
	return []scenario{
		{name: "externalTrafficPolicy Local with local endpoints", steps: func(n int) [][]Op {
			return [][]Op{append(served(n, anywhere), local(n, allProtocols)), {aService(n, single, exposed(n))}, {local(n, single)}}
		}, uses: []string{marks}},
		{name: "externalTrafficPolicy Local with remote endpoints only", steps: func(n int) [][]Op {
			return [][]Op{append(served(n, elsewhere), local(n, single)), served(n, here), served(n, elsewhere)}
		}, uses: []string{noLocal, marks}},
		{name: "externalTrafficPolicy Local without endpoints", steps: func(n int) [][]Op {
			return [][]Op{{local(n, single)}}
		}, uses: []string{ruleEmpty, noEndpoints, marks}},
		{name: "internalTrafficPolicy Local", steps: func(n int) [][]Op {
			return [][]Op{
				slices.Concat(served(n, anywhere), served(n+1, elsewhere), served(n+2, elsewhere), []Op{inside(n, single), inside(n + 1), inside(n+2, single, exposed(n+2))}),
				slices.Concat(served(n, elsewhere), served(n+1, here), served(n+2, here)),
			}
		}, uses: []string{ruleEmpty, ruleRemote, noLocal}},
		{name: "both policies Local", steps: func(n int) [][]Op {
			both := inside(n, single, exposed(n), externalLocal(n))
			return [][]Op{append(served(n, anywhere), both), served(n, elsewhere)}
		}, uses: []string{ruleRemote, noLocal, marks}},
	}
}

func endpointScenarios() []scenario {
	four := corev1.IPv4Protocol
	terminating, gone, unready := conditions(false, true, true), conditions(false, false, true), conditions(false, false, false)
	mixed := func(n int, endpoints ...discoveryv1.Endpoint) []Op { return []Op{aSlice(n, 0, four, endpoints...)} }
	return []scenario{
		{name: "terminating endpoints", steps: func(n int) [][]Op {
			return [][]Op{
				slices.Concat(served(n, anywhere), []Op{aService(n, single, exposed(n), externalLocal(n)), aService(n+1, single)},
					mixed(n+1, aPod(1, 0, four), aPod(2, 0, four, terminating))),
				slices.Concat(served(n, anywhere, terminating), mixed(n+1, aPod(1, 0, four, unready), aPod(2, 0, four, terminating))),
				slices.Concat(served(n, anywhere, gone), mixed(n+1, aPod(1, 0, four, unready), aPod(2, 0, four, gone))),
			}
		}, uses: []string{ruleEmpty, noEndpoints, marks}},
		{name: "publishNotReadyAddresses", steps: func(n int) [][]Op {
			published := aService(n, single, func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true })
			return [][]Op{append(mixed(n, aPod(1, 0, four), aPod(2, 0, four, conditions(true, false, false)), aPod(2, 1, four, conditions(true, true, true))), published)}
		}},
		{name: "hints", steps: func(n int) [][]Op {
			return [][]Op{
				slices.Concat([]Op{aService(n, single), aService(n+1, single), aService(n+2, single), aService(n+3, single)},
					mixed(n, aPod(1, 0, four, forZone(Zone1)), aPod(2, 0, four, forZone(zone2))),
					mixed(n+1, aPod(1, 0, four, forZone(zone2)), aPod(2, 0, four, forZone(zone2))),
					mixed(n+2, aPod(1, 0, four, forNode(Node1)), aPod(2, 0, four, forNode(Node2))),
					mixed(n+3, aPod(1, 0, four, forZone(Zone1)), aPod(2, 0, four))),
				slices.Concat(mixed(n, aPod(1, 0, four, forZone(Zone1), terminating), aPod(2, 0, four, forZone(zone2))),
					mixed(n+3, aPod(1, 0, four, forZone(Zone1)), aPod(2, 0, four, unready))),
			}
		}},
		{name: "named ports and several slices", steps: func(n int) [][]Op {
			moved := aSlice(n, 1, four, aPod(1, 1, four), aPod(2, 1, four), aPod(2, 2, four))
			for i := range moved.Slice.Ports {
				*moved.Slice.Ports[i].Port += 1000
			}
			again := aSlice(n, 2, four, aPod(1, 1, four), aPod(2, 0, four)) // what another slice has
			foreign := aSlice(n, 3, corev1.IPv6Protocol, aPod(1, 0, corev1.IPv6Protocol))
			return [][]Op{
				append(mixed(n, aPod(1, 1, four), aPod(2, 0, four)), moved, again, foreign, aService(n, single, allProtocols)),
				{Op{Slice: again.Slice, Delete: true}, Op{Slice: moved.Slice, Delete: true}},
			}
		}},
	}
}

func changeScenarios() []scenario {
	return []scenario{
		{name: "types and families changed", steps: func(n int) [][]Op {
			return [][]Op{
				append(served(n, anywhere), aService(n, single)),
				{aService(n, ofType(n, corev1.ServiceTypeNodePort))},
				{aService(n, exposed(n), externalLocal(n))},
				{aService(n, single)},
			}
		}, uses: []string{marks}},
		{name: "deleted and created again", steps: func(n int) [][]Op {
			s := aService(n, single, exposed(n))
			return [][]Op{
				append(served(n, anywhere), s),
				{Op{Service: s.Service, Delete: true}, aService(n, ofType(n, corev1.ServiceTypeNodePort))},
				{Op{Service: s.Service, Delete: true}},
			}
		}},
		{name: "ports changed", steps: func(n int) [][]Op {
			return [][]Op{append(served(n, anywhere), aService(n, single, allProtocols, exposed(n))), {aService(n, single, exposed(n))}}
		}},
	}
}
