// Package ledger holds all desired objects together with the Services that want them.
//
// Replacing what one Service wants yields exactly the keys whose desired state changed, however many Services there are.
// An object that several Services want stays until the last of them lets go (an address shared by ports, a set entry of
// a shared endpoint). Where they want it differently (two Services with the same address and port), the older Service
// wins, then the one whose name sorts first; when the winner goes, the next takes over. Set entries about a virtual server
// follow it: those of a Service that did not get it do not count, since they would act on the winner's traffic. So do entries
// that make exceptions of others, as for the port alone of a NodePort.
//
// Out of scope: what the kernel has (package plan) and how an object came to be wanted (package translate).
package ledger
