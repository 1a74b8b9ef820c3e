// Package ipset drives the kernel's ipset subsystem over netlink: it makes sets exist with given parameters, reads their
// entries, and changes entries in batches with a result for each one. It starts no process.
//
// The codec is this package's own, because the parameters the proxy depends on (hashsize, a packet mark on each entry)
// must come out exactly as the ipset tool writes them: a set made here is the one that `ipset create -exist` with the
// same parameters accepts. Message layout and codes are those of include/uapi/linux/netfilter/ipset in the kernel.
//
// A set whose parameters are wrong, or that is full, is replaced without a gap: a temporary set (see TemporaryName) is
// filled and swapped in. A set of another type can be replaced only while no rule refers to it; this package reports it as
// a ConflictError and leaves the rules to others.
//
// Out of scope: which sets and entries are wanted, the packet-filter rules that match on sets, timeouts, counters,
// comments and all set types that the proxy does not use.
package ipset
