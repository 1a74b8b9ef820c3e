// Package page is the status page at the metrics address: one page of HTML that says how the daemon and its virtual servers
// are, for people with nothing but a browser. It loads nothing, runs no script and changes nothing. What it costs depends on
// how many virtual servers it shows, which is a fixed number: of the others it looks at names and addresses, in memory.
//
// Out of scope: programs that want the same (package admin has it as JSON, package metrics as numbers), and who may see it,
// which the address it is served at decides.
package page
