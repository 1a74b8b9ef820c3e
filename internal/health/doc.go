// Package health answers whether the proxy does its job: /healthz and /livez with kube-proxy's JSON and status codes.
//
// The proxy is unhealthy when a change has waited too long for the kernel, because the kernel cannot be read or does not
// answer. One object's failure never counts: else one bad Service would drain every node. /healthz, which load balancers
// ask, also says no when the node is about to go; /livez does not.
//
// Out of scope: counting (metrics) and the healthCheckNodePorts of single Services.
package health
