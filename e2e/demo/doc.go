// Command demo shows in a few steps what kube-ipvs-proxy does, with the real daemon and real packets but without a
// cluster: nodes, pods and a client are network namespaces (package topology), and a manifest takes the API server's place.
//
//	make demo
//
// Every step says what it does and why, prints the commands with which an operator would look, as they answer, and checks
// the outcome. The demo ends with "demo: OK" and status 0, or with what was wrong, the daemon's log and status 1.
//
// It needs root and a kernel with IPVS and the dummy device, as the lab (e2e/lab) provides, and the programs sh, ip, grep
// and ipvsadm.
//
// Out of scope: testing. What every kind of Service has to do is checked by package behaviour; this shows one Service
// from its beginning to its end.
package main
