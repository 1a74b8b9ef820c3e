// Package dataplane is the vocabulary in which the proxy speaks about the kernel: virtual servers and the real servers
// behind them, addresses bound to kube-ipvs0, ipset sets and their entries, packet-filter rules, and the operations that
// change them.
//
// Everything here is a plain value. Keys are comparable, so that desired and confirmed state are compared with ==, and
// every object prints itself in the notation an operator already knows: `ipvsadm -Sn`, `ip addr`, `ipset save`.
//
// Out of scope: talking to the kernel (package kernel), deciding what is wanted (package translate) and in which order
// to get there (package plan). This package imports the standard library only.
package dataplane
