// Package standin lets programs that are no tests use what is made for tests: packages topology and backend build for a
// testing.TB, which fails and cleans up for them.
//
// Out of scope: everything else of testing.TB. Who calls a method that is not here finds a nil interface, and stops with a
// stack trace.
package standin
