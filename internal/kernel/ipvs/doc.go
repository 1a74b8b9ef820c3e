// Package ipvs drives the kernel's IP Virtual Server over generic netlink: it reads virtual and real servers, carries out
// batches of operations on them, and sets the protocol timeouts.
//
// The kernel works a netlink request off inside the system call that sends it, and its answers are in the receive
// buffer when that call returns. Everything here leans on that: many operations travel in one send, only the last asks
// for an acknowledgement (refusals come back by themselves, told apart by sequence number), and nothing ever waits. An
// answer that is not there has been lost; the operations of that send are then tried again, which is safe because each
// of them is idempotent.
//
// From the outside in: driver.go is the public surface, batch.go turns operations into requests and their answers into
// results, conn.go speaks to the kernel, encode.go and decode.go are pure and paired, message.go knows netlink's frames
// and attributes. The numbers come from include/uapi/linux/ip_vs.h.
//
// Out of scope: loading modules (the kernel may load a scheduler by itself when it is asked for one), which virtual
// servers are whose, order between operations, draining, and IPVS's sync daemon, persistence engines,
// connection thresholds and kinds of tunnels.
package ipvs
