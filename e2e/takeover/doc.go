// Package takeover takes a node over from kube-proxy, in each of its modes, and gives it back, under load: clients in
// namespaces of their own ask Services on new connections and on lasting ones, and no question may stay unanswered.
//
//	kube-proxy (ipvs, iptables, nftables) ──stop──► kube-ipvs-proxy ──stop──► kube-proxy (ipvs), --cleanup
//	       └───────────────── new and lasting connections, TCP and UDP, IPv4 and IPv6 ─────────────────┘
//
// Beside the answers it looks at what the kernel remembers: conntrack's entries of lasting flows keep their ids, and no count
// of a virtual or real server goes back, as it would if it were deleted and added again.
//
// Out of scope: what each Service kind means (package behaviour), and equality of what both proxies make of the kernel
// (package differential).
package takeover
