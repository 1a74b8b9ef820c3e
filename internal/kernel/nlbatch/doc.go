// Package nlbatch speaks netlink: it sends many requests in one system call and tells what became of each, and it reads
// tables whole or not at all. The drivers below internal/kernel share it; each brings its own messages.
//
// The kernel works a request off inside the system call that sends it, and its answers are in the receive buffer when
// that call returns. Everything here leans on that: only the last request of a send asks for an acknowledgement
// (refusals of the others come back by themselves, told apart by sequence number), and nothing ever waits. An answer that
// is not there has been lost; the requests of that send are then sent again, fewer at a time. So every request of a batch
// has to be idempotent. Where all tries are lost, dataplane.ErrUnknown says that the kernel may have carried it out.
//
// From the outside in: batch.go and exchange.go send and judge answers, conn.go keeps a socket in working order, socket.go
// is the socket itself, message.go, attribute.go and refusal.go know netlink's frames (include/uapi/linux/netlink.h).
//
// Out of scope: what messages mean, notifications (a subscriber has to wait, and has a socket of its own), and nfnetlink's
// transactions (NFNL_MSG_BATCH_BEGIN), which carry out all or nothing.
package nlbatch
