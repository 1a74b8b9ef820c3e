// Package health answers whether the proxy does its job: /healthz and /livez with kube-proxy's JSON and status codes, and
// for Services with externalTrafficPolicy Local the healthCheckNodePort.
//
// The proxy is unhealthy when a change has waited too long for the kernel, because the kernel cannot be read or does not
// answer. One object's failure never counts: else one bad Service would drain every node. /healthz, which load balancers
// ask, also says no when the node is about to go; /livez and the healthCheckNodePorts do not.
//
// ServiceChecks keeps the healthCheckNodePorts open. What they answer is looked up when they are asked, so that listeners
// come and go with ports and addresses only. A port that cannot be opened is its Service's problem and nobody else's.
//
// Out of scope: counting (metrics), which endpoints are ready (service), and the packet filter's part (translate).
package health
