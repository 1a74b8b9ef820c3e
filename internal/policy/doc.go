// Package policy holds the shape of the project by tests: which package may import which, how large files, functions,
// structs and interfaces may grow, that everything exported is documented, that no state hides in packages, and that
// the top level holds what it is meant to hold.
//
// Out of scope: what the code does. There is nothing here but tests.
package policy
