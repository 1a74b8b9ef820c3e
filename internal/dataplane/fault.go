package dataplane

// Fault is something about the device, a set or the rules that is not as it should be.
type Fault struct {
	What string // what is wrong with which of them, a phrase
	// Repair is the command that would put it right, possibly of several lines; empty if no single command can.
	Repair string
}
