// Package kerneltest has what tests need in place of, or around, a kernel: a fresh network namespace on the real one, a
// strict in-memory kernel that fails as the real one fails, and a wrapper that injects faults.
//
// Out of scope: topologies of several hosts (package e2e/topology) and running a test on a kernel with IPVS (e2e/lab).
package kerneltest
