// Package app puts the daemon together and runs it: configuration, kernel, sources, reconciler, the listeners for health
// and metrics, and the log.
//
// Out of scope: every decision about Services or the kernel. What is here is wiring, in the order in which things have
// to start and stop.
package app
