// Package reference keeps the tables of manifests/reference.md equal to the code: flags, exit statuses, Events and metrics. The
// tests of the packages that have these make the tables, and fail when the committed text differs; make docs writes it.
//
// Out of scope: what is in the tables, and the words between them, which are written by hand.
package reference
