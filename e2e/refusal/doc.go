// Package refusal tests the daemon on bad ground: wrong objects, missing modules, programs and privileges, things of others
// in the way, sources that cannot be reached. The real binary runs on a real kernel, without an API server; judged are what
// it says, the status it ends with, and whether everything else is served.
//
// Every refusal has to be told with the object, the field or the setting, and a way out. What keeps the daemon from ever
// working ends it, with a status that says whose the fault is: 2 for the configuration, 3 for the kernel or privileges, 4 for
// the source of objects, 5 for a listener. What may mend while it runs is reported and tried again.
//
// Out of scope: packets (package behaviour), and the single decisions, which their packages' own tests hold.
package refusal
