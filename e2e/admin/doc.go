// Package admin tests what an operator checks a node with, on a real kernel: the commands verify, render, explain and status,
// and that two proxies do not work on one node. What verify prints is run as it is, and has to repair what was broken by
// hand; what explain says of clients is held against their packets. The commands of the README's table of troubles are run on
// nodes that have them.
//
// Out of scope: traffic (package behaviour), and the daemon's own repairs (there, too).
package admin
