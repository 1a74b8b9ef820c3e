// Package translate turns what a Service means on this node into the data-plane objects it wants: virtual servers with
// their real servers, addresses on kube-ipvs0, and set entries (Service). What does not belong to any Service comes from
// the node (Node), and what does not change at all are the sets themselves and the packet-filter rules that look into
// them (Sets, Rules).
//
// Names, types and order of sets, chains and jumps are kube-proxy's, so that either can take over from the other in
// place. Five sets and the rules that use them are added where kube-proxy's own structure is the fault:
//
//	KUBE-SERVED-IPS     every address of a virtual server, bound here or not; what goes elsewhere is let go by one look-up
//	KUBE-NODE-PORT-IPS  the addresses NodePorts are served on; a port number alone does not make a NodePort (P17)
//	KUBE-NO-ENDPOINTS   what no endpoint anywhere serves; clients are refused (P27)
//	KUBE-NO-LOCAL       what only endpoints on other nodes serve, under the policy Local; clients are dropped (P26)
//	KUBE-INTERNAL-MARK  what is exposed under externalTrafficPolicy Local, with the mark for clients inside the cluster (P26)
//
// # How a packet passes
//
// IPVS takes a packet to a virtual server out of the stack at one of two places. One that arrives is routed to the
// address on kube-ipvs0 (or the node's own), and so passes nat PREROUTING and filter INPUT before IPVS at LOCAL_IN. One
// that the node itself sends passes nat OUTPUT, then IPVS at LOCAL_OUT, and only then filter OUTPUT. Either way IPVS
// rewrites the destination to the endpoint and sends the packet through LOCAL_OUT (filter OUTPUT once more, nat only if
// its decision is still open) and POSTROUTING. Replies to other machines pass FORWARD. Hence:
//
//   - who is masqueraded is decided in nat PREROUTING and OUTPUT, while the virtual address is still to be seen, kept as
//     a mark, and done in POSTROUTING;
//   - what must not reach IPVS is filtered in INPUT. A packet of the node itself gets there only when IPVS has no
//     virtual server for it, by way of the loopback interface;
//   - nothing in FORWARD ever sees a virtual address that is bound here;
//   - who is inside the cluster is told by a packet mark that is set in mangle INPUT and OUTPUT. IPVS compares all its bits. In
//     OUTPUT nat comes after mangle and may add the bit that asks for masquerading, so that there are two virtual servers: for
//     the mark without that bit (pods, to virtual addresses; they keep their address) and with it (the node; and everybody to
//     NodePorts, since a pod of another node would not recognise an answer that did not come back this way).
//
// Everything here is pure. Out of scope: which Service wins where two want the same (package ledger), what order the
// kernel is changed in (package plan) and how rules and sets get there (package kernel).
package translate
