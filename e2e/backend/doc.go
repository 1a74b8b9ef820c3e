// Package backend runs real servers inside the namespaces of a topology. They
// answer every request with who they are and whom they saw asking, over TCP, UDP
// and SCTP, so that a test can tell where a Service's packets went and what became of
// their addresses. Package probe has the clients.
//
// The protocol: a request is one line with two decimal numbers, then as many
// bytes of padding as the first says; the answer is one line with the backend's
// name, its own address, the client's address, the number of padding bytes received,
// and the number of padding bytes that follow, which is the request's second
// number. A connection carries any number of requests, one after the other. A UDP request is one
// datagram, and so is its answer.
//
// Out of scope: HTTP, several requests in flight on one connection, and anything
// that a server would decide: it answers until it is closed.
package backend
