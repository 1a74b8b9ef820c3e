// Package differential runs kube-proxy in its ipvs mode and the daemon beside each other on the same API objects and
// compares what they make of the kernel: virtual and real servers, the addresses of kube-ipvs0, and the members of the
// ipsets.
//
//	           kube-apiserver: Services, EndpointSlices, one Node object
//	              │                                     │
//	┌─ namespace ─┴──────────────┐       ┌─ namespace ──┴─────────────┐
//	│ kube-proxy --mode=ipvs     │       │ kube-ipvs-proxy            │   both as the same node,
//	└─ ipvsadm, ipset, addresses ┘       └─ ipvsadm, ipset, addresses ┘   with the same addresses
//	              └──────────► Compare, Rules ◄─────────┘
//
// What is meant to differ is listed in one place, [Rules], with the reason for each. Everything else fails the test, which
// then looks for the smallest [Case] that still differs and prints its objects. Cases are written by hand, one scenario
// for each kind of Service, and made by [Generate] from a seed.
//
// When both have settled is told by markers: a Service whose real servers appear when everything written before has been
// delivered, and the previous one, whose virtual server goes with the last step of a later sync.
//
//	make diff-kube-proxy                     # the fixed scenarios and 20 random cases
//	make diff-kube-proxy SEED=17 SEEDS=1     # one random case again
//
// Out of scope: iptables rules, which differ by intention and are judged by packets (package behaviour); order of real
// servers (P15); slices that call an endpoint of a Service with publishNotReadyAddresses not ready, which no controller writes
// and where the daemon heeds the Service, as the API says, and kube-proxy the slice; servers that drain, since nobody connects to anything here; two Services that want the same virtual server,
// of which kube-proxy serves another at each sync.
package differential
