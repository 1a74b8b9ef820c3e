// Package plan turns "these keys changed" into ordered operations.
//
// A Planner knows the last confirmed state of the kernel: it adopts snapshots, and learns from the result of every
// operation and from events. Asked about keys, it compares what is desired with what is confirmed and returns the
// operations that lead from one to the other, in the order that keeps traffic flowing: set entries, virtual servers, real
// servers, addresses on the way up, the reverse on the way down.
//
// A TCP real server that is no longer wanted while its virtual server is drains: weight 0 first, deleted when its
// connections have ended. Whether it drains is read off the kernel state (weight 0 and not wanted), so a restart goes on
// where the last process stopped. A virtual server without any real server is not kept: its packets are to reach the
// packet filter, which refuses them at once.
//
// Out of scope: executing operations and when to try again (package reconcile).
package plan
