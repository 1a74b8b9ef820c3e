// Package sysctl brings the kernel parameters that the proxy depends on to their values.
//
// A parameter that is right already is not written, so that a read-only /proc/sys prepared by a privileged init container
// is enough. Every parameter is tried even when another fails; the errors are joined and each names the parameter, the
// value wanted and the remedy.
//
// Compare says which parameters differ, for those who only want to know.
//
// Out of scope: the timeouts of IPVS itself, which go by netlink (package ipvs), and loading modules.
package sysctl
