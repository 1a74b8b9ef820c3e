// Package packet works a packet through the proxy's rules and the entries of their sets, as the kernel's packet filter would:
// in order, from a built-in chain on, until an action ends its way in that table. It says which rules were met and why, for
// an explanation, and so lets tests ask of rules what they do instead of how they look.
//
// It is strict: rules that name a chain or a set which is not there, or look a set up by the wrong number of fields, are an
// error, as they are for the kernel.
//
// Out of scope: the order of the kernel's hooks and what IPVS does between them (package admin), rules of others, which
// nobody here knows, and reading the rules of a kernel (package kernel/netfilter).
package packet
