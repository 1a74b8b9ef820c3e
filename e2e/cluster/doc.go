// Package cluster gives each end-to-end test a Kubernetes cluster of its own, as far as a Service proxy can see one:
// a network of namespaces (package topology), the Node objects of its nodes, an API namespace, and the daemon under
// test, running on one of the nodes against a real API server.
//
//	KUBECONFIG ──► kube-apiserver on 127.0.0.1:PORT, shared by all tests of a run
//	                     ▲ forwarded into the node's network namespace
//	┌─ one test ─────────┼──────────────────────────────────────────────┐
//	│ client ── node-1 (kube-ipvs-proxy) ── pods   node-2 ── pods        │
//	│ API namespace, Node objects, Services, EndpointSlices of its own  │
//	└───────────────────────────────────────────────────────────────────┘
//
// Tests run in parallel and every daemon sees the Services of all of them, in a kernel namespace of its own. So
// that they do not meet, external and load-balancer IPs derive from the ClusterIP, which the API server gives out once;
// NodePorts are left to the API server. No test may count on being alone.
//
// Run tests with make e2e, which sets KUBECONFIG and KUBE_IPVS_PROXY_BINARY; what is missing then fails the test.
// Without them, and without KUBE_IPVS_PROXY_E2E=1, tests that need them skip and say why.
//
// Waiting is done by asking again until a deadline, never by sleeping for long enough.
//
// Out of scope: what a controller or kubelet would do on its own. Nobody hands out load-balancer IPs or starts pods unless
// the test does, or writes EndpointSlices unless the test does or asks for a pass of the EndpointSlice controller's own
// code. Judging packets is the tests' business (package behaviour).
package cluster
