// Package admin shows people and scripts what the daemon wants of the kernel, without a way to change any of it: the
// view of the desired state as JSON, the differences between that and what a kernel has as the commands that repair them,
// and the same state in the notations of ipvsadm, ipset, iptables and ip.
//
// The types with JSON tags are an interface that others rely on: fields are added, not renamed, and never change their
// meaning.
//
// Out of scope: where the view is served and to whom (package app), what the state ought to be (translate, ledger), and
// reading a kernel (package kernel/host).
package admin
