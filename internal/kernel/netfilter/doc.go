// Package netfilter installs the proxy's static packet-filter rules with the iptables binaries.
//
// Rules are data (dataplane.Ruleset). They are rendered in exactly the form in which iptables-save prints them, so that
// what is there and what is wanted are compared as text, and written with iptables-restore --noflush, one atomic commit
// for each table and only for what differs. A node where all is right costs one iptables-save per family, one where all is
// wrong an iptables-restore more.
//
// The proxy's chains are its own by exact name: whatever is inside them is replaced. Built-in chains, other chains and
// other rules are never touched, except for jumps from the listed built-in chain into the listed chain of ours.
//
// Out of scope: which rules are wanted (package translate), the sets that they refer to (package ipset; they must exist
// before the rules), and tables that nft(8) manages natively.
package netfilter
