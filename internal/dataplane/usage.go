package dataplane

// Usage is what IPVS says about a virtual server that clients use.
type Usage struct {
	Traffic
	Servers []Load // all real servers there are, in the kernel's order
}

// Traffic is what IPVS has counted of one virtual server since it was made or its counters were zeroed (ipvsadm -Z). The
// kernel brings the numbers up to date every two seconds (ip_vs_est.c), unless net.ipv4.vs.run_estimation is 0.
type Traffic struct {
	Connections           uint64 // given to a real server; for UDP flows, and with one-packet scheduling packets
	InPackets, OutPackets uint64 // from clients, and to them
	InBytes, OutBytes     uint64 // of these packets, IP headers included
}

// Load is a real server with its connections at one moment.
type Load struct {
	RealServer
	Active   uint32 // established TCP and SCTP connections
	Inactive uint32 // all others: TCP connections that begin or end, UDP flows
}
