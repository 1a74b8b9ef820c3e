// Command controlplane runs another command beside a Kubernetes API server of
// its own:
//
//	controlplane [flags] COMMAND [ARG...]
//
// It starts etcd and kube-apiserver on free ports of 127.0.0.1, waits until
// that very kube-apiserver (and no other that may listen there) answers and
// hands out ClusterIPs, runs COMMAND with KUBECONFIG pointing at it and its
// port appended to LAB_FORWARD, exits with COMMAND's status and leaves no
// process behind. The certificate authority, the serving certificates and the
// administrator's token are made anew for every run.
//
// The servers are built from source with the versions that this module's go.mod
// pins, into .cache/bin at the project root, together with the kube-proxy of the
// same release that comparison tests run, and the kubectl that tests of the
// manifests run. Building takes minutes the first time
// and is skipped while go.mod, go.sum and the toolchain stay the same. The module
// is apart from the project's own so that none of those dependencies reach it.
//
// Services get addresses from 10.96.0.0/16 and fd00:10:96::/112; node ports,
// feature gates and RBAC are Kubernetes' defaults. The ServiceAccount admission
// plugin is off, because no controller here creates the service accounts that Pods
// have without asking; who makes one gets tokens for it, and RBAC decides what
// they may do.
//
// Out of scope: controllers, a scheduler, kubelets. Whoever writes a Service
// also writes its EndpointSlices, Nodes and Pods. The Service default/kubernetes
// exists, without endpoints. Nothing persists from run to run, and the etcd
// settings (no fsync) are unfit for anything but tests.
//
// Exit status: COMMAND's; 128 plus the signal's number when a signal ended it;
// 125 when the control plane could not be built or started, when COMMAND could not be
// run, or when a server died under it. On every failure the directory with the
// servers' logs is kept and its path printed.
package main
