// Package kernel is the proxy's one door to the Linux kernel: IPVS, the kube-ipvs0 device, ipsets, packet-filter rules
// and conntrack behind one narrow interface, with typed errors.
//
// The interface speaks the vocabulary of package dataplane only. Each subsystem's codec, batching and errno handling
// live in a package of their own below this one; package host puts them together. kerneltest has a strict in-memory kernel.
//
// Out of scope: what is wanted and in which order to get there. A driver does what an operation says, reports each
// operation's own result, and decides nothing.
package kernel
