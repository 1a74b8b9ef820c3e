// Package behaviour tests the daemon the way clients, backends and operators meet it: the real binary on a real kernel,
// fed by a real API server, judged by packets and by ipvsadm.
//
// Tests carry the ids of the behaviours (B01…) and promises (P01…) that they hold up; e2e/README.md lists them. Where a
// behaviour is the same for every kind of address, protocol and family, a test walks their whole product
// (cluster.Ways).
//
// Out of scope: what packages decide by themselves, which their own tests hold, and anything that needs controllers or
// kubelets.
package behaviour
