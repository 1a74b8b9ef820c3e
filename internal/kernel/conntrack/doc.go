// Package conntrack deletes the connection-tracking entries of UDP and SCTP flows that go to a real server which is no
// more, or to the virtual address itself because there was none, so that their next packet is scheduled anew (P09). IPVS puts the real server into the reply direction of the
// entry, which is how a flow is recognised, as long as net.ipv4.vs.conntrack is 1.
//
// A batch costs one dump for each family in it, whatever its size, and one request for each entry that matches. When all
// flows of a family are of one protocol, the kernel leaves the others out of the dump (Linux 5.8 and later; earlier ones
// send them, and they are passed over here).
//
// From the outside in: driver.go is the public surface and speaks to the kernel, match.go decides (pure), message.go is
// the pure codec. The codec is this package's own, because the library's reads no SCTP ports.
//
// Out of scope: TCP, whose connections end by themselves; timeouts and table sizes (sysctls); flushing (P10).
package conntrack
