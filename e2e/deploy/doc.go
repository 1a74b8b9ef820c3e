// Package deploy tests what an operator deploys: manifests/, as kubectl renders and sends it, and the daemon as a node would
// run it from there.
//
//	manifests/ ── kubectl kustomize ──► objects ──► kube-apiserver (dry run; accounts and roles for real)
//	                                       │
//	                                       └─ DaemonSet ──► a container of the test's own on a node of package topology
//
// There is no kubelet here. A helper process in its place makes a container's mount namespace, root, volumes, capabilities
// and no_new_privs from the rendered Pod template, and becomes the container's command; nothing of it is typed a second time.
// The token is a real one of the ServiceAccount, and RBAC decides what it may do.
//
// What monitoring/ names is held against the metrics that a running daemon has, and promtool runs the rules' own tests.
//
// Out of scope: a container runtime (images, cgroups, process and IPC namespaces, the seccomp profile RuntimeDefault, which is
// the runtime's own), the DaemonSet controller, and what the daemon makes of Services (package behaviour).
package deploy
