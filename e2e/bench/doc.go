// Command bench measures the daemon at scale: how long it takes to program a kernel from nothing, how soon a change of
// the API is in the kernel, and what the daemon spends on each change.
//
//	controlplane bench [flags]
//
// It fills the API server of KUBECONFIG with Services and EndpointSlices, and then runs itself again inside the lab
// (package e2e/lab), once per round: each round starts from a kernel without modules, sets, rules or virtual servers.
// A round starts the daemon cold, makes changes through the API one after the other, starts the daemon again over what
// it left behind, and makes changes under strace(1). The medians of all rounds are printed as a table.
//
// What counts as "in the kernel" is asked of the kernel, never of the daemon: the number of IPv4 virtual servers and the
// address events while the daemon starts, one dump of a single virtual server per try while a change is on its way. Both
// are cheap enough not to slow the daemon down, which may have only one CPU to share.
//
// Out of scope: packets, dual-stack Services, and other proxies than this one.
package main
