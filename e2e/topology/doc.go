// Package topology builds a small cluster network out of network namespaces of
// the running kernel: nodes with pods, and clients outside the cluster, over IPv4
// and IPv6.
//
//	                     fabric (one layer-2 segment)
//	         ┌──────────────┬──────────────┬──────────────┐
//	      eth0 .11       eth0 .12       eth0 .101      eth0 .102 …
//	     ┌───┴────┐     ┌───┴────┐     ┌───┴────┐
//	     │ node-1 │     │ node-2 │     │ client │     172.18.0.0/24, fd00:172:18::/64
//	     └───┬────┘     └───┬────┘     └────────┘
//	       cni0 .1        cni0 .1
//	     ┌───┴───┐      ┌───┴───┐
//	   pod .2  pod .3  pod .2  …
//	10.244.1.0/24,      10.244.2.0/24,
//	fd00:10:244:1::/64  fd00:10:244:2::/64
//
// Pods reach pods on every node by their own addresses, and the nodes reach
// everything, by static routes as a CNI plugin in host-gateway mode sets them.
// Clients reach the nodes only: they have no route to pods or Services until
// a test adds one with [Host.RouteVia] or [Host.RouteOnLink]. Nothing translates
// addresses: what a packet filter or IPVS does to them is the tested program's
// doing alone.
//
// Pods hang on a bridge with hairpin mode by default ([Bridged]), as with the
// CNI project's bridge plugin, flannel or k3s. Two pods of one node then talk to
// each other at layer 2, and the reply of a pod behind a virtual server would bypass
// the translation back, so bridge-nf-call-iptables and bridge-nf-call-ip6tables
// are on in the nodes' namespaces, as every Kubernetes installation guide asks;
// [Options.NoBridgeNetfilter] leaves them off. [Routed] gives each pod a link of
// its own that the node routes to, as Calico or kindnet do; bridges play no role there.
//
// Settings that differ from the kernel's: forwarding is on where packets are
// forwarded; reverse path filtering is off; duplicate address detection is off, so that
// addresses work at once; ICMP errors are not rate limited, so that every
// refused probe is told.
//
// A namespace lives as long as this process holds it, and has no name in the
// file system: whatever ends the process also ends the network. Programs
// run inside with [Netns.Command], sockets are made inside with [Netns.Listen],
// [Netns.ListenPacket] and [Netns.Dial].
//
// Everything here needs root in the initial user namespace or CAP_NET_ADMIN and CAP_SYS_ADMIN in
// the one that owns the network, and fails the test without them.
//
// Out of scope: servers and clients that speak over these sockets (packages backend
// and probe), anything of Kubernetes, and separate file systems or process
// namespaces for the hosts.
package topology
