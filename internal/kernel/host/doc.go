// Package host puts the drivers of the kernel's subsystems together behind kernel.Kernel: it hands operations to whom they
// concern, keeps the order between subsystems, and brings the foundation about in the order in which its parts depend on
// each other.
//
// It is apart from package kernel so that whoever needs the interface alone, such as the reconciler and the in-memory
// kernel of package kerneltest, does not depend on the drivers.
//
// Out of scope: encoding, batching and reading errno (the drivers), deciding what is wanted, loading modules, and sysctls
// (package sysctl).
package host
