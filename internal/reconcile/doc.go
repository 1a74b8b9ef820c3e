// Package reconcile keeps the kernel equal to what the sources say. It drives the whole row: objects come in through a
// sink, changed Services are translated, the ledger tells which keys changed, the planner which operations those need,
// and the kernel carries them out.
//
// One goroutine (Run) does all the work, in rounds. A round costs what the change costs. Operations that fail are planned
// again with a backoff of their own, and hold up nothing else. Nothing is taken away from traffic before every source is
// complete, and nothing because of a read that failed. An audit compares the whole kernel with the whole desired state,
// at start and then periodically.
//
// Out of scope: what objects mean (service), what they become (translate), in which order operations go (plan), and
// showing any of this to people (health, metrics, admin: they implement Observer).
package reconcile
