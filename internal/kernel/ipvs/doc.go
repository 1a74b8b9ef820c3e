// Package ipvs drives the kernel's IP Virtual Server over generic netlink: it reads virtual and real servers, carries out
// batches of operations on them, and sets the protocol timeouts.
//
// The table is read by the older interface of IPVS, getsockopt, wherever that does: of all ways it is the cheapest by far
// (BenchmarkKernelReadingWays), and what each call returns is the state of one moment. It knows IPv4 only and hides real
// servers of the other family, so it counts for nothing where it is missing or the number of real servers is not the one
// that the table names; generic netlink tells the rest.
//
// Operations travel in batches of package nlbatch, which may try some of them again: each is idempotent.
//
// From the outside in: driver.go is the public surface, batch.go turns operations into requests and their answers into
// results, pools.go, usage.go and sockopt.go read, conn.go speaks to the kernel, encode.go and decode.go are pure and paired, message.go knows generic netlink's
// frame. The numbers come from include/uapi/linux/ip_vs.h.
//
// Out of scope: loading modules (the kernel may load a scheduler by itself when it is asked for one), which virtual
// servers are whose, order between operations, draining, and IPVS's sync daemon, persistence engines,
// connection thresholds and kinds of tunnels.
package ipvs
