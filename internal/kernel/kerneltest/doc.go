// Package kerneltest has what tests need in place of, or around, a kernel: a fresh network namespace on the real one
// (Netns), a strict in-memory kernel that fails as the real one fails (Fake), a wrapper that injects faults (Faulty),
// and the suite that holds the real and the in-memory kernel to the same behaviour (Conformance).
//
// Out of scope: packets (nothing is balanced by the in-memory kernel), topologies of several hosts (package
// e2e/topology) and running a test on a kernel with IPVS (e2e/lab).
package kerneltest
