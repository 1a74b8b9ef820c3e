// Package probe asks the servers of package backend who they are, from inside
// the namespaces of a topology, and tells apart the ways in which that can fail.
//
// [Ask] opens a connection, asks once and closes it; [AskN] does so several times
// and counts; [Open] keeps the connection for more questions; [StartLoad] asks
// again and again in the background while the test changes something; [Await] asks
// until the answer is the wanted one. [Ping] sends an ICMP echo request.
//
// Every question has a deadline and is asked once: nothing is repeated behind
// the test's back, except what the kernel's TCP and SCTP retransmit.
//
// Out of scope: judging answers, and anything that is not a packet, such as
// reading the kernel's tables.
package probe
