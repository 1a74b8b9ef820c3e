// Package sctp makes one-to-one style SCTP sockets (RFC 6458, section 4), which
// behave like TCP sockets: a listener accepts connections, a connection reads and
// writes bytes.
//
// Sockets are made in the network namespace of the calling thread. They are wrapped in
// package net's types for stream sockets, so their addresses are of type
// [net.TCPAddr].
//
// Every socket is bound to one address before it connects or listens. An
// unbound one offers all addresses of its host to the other side, which a
// translator of addresses such as IPVS does not rewrite.
//
// Out of scope: message boundaries, streams, several addresses per endpoint and
// everything else that sets SCTP apart from TCP.
package sctp
