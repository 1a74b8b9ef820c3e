// Package config turns what an operator writes, a KubeProxyConfiguration file (kubeproxy.config.k8s.io/v1alpha1) or
// kube-proxy's command line, into one validated value.
//
// File and flags meet in the same v1alpha1 structure, get kube-proxy's defaults and pass the same checks. Everything that
// is wrong is reported at once, by the name the operator used: the field's path for a file, the flag otherwise. What is
// understood but has no effect here (other modes, Windows, feature gates) is accepted and named once in a warning.
//
// With --config, a flag that has a field in the file is ignored and a warning says so; --hostname-override and the logging
// flags win over the file, and flags without a field (--master, --cleanup, our own) always count. Where kube-proxy 1.37.2
// differs from the text of its own flags, this package keeps to the text:
//
//   - --healthz-port and --metrics-port set the port unless the address names one, and 0 turns the listener off
//     (kube-proxy ignores the number, and does not start with --metrics-port=0);
//   - --ipvs-min-sync-period is 0 unless given, as in a file (kube-proxy takes the 1s of the iptables mode).
//
// UDP timeouts: the kernel forgets a UDP flow when the first of IPVS and conntrack does, so ipvs.udpTimeout alone has no
// effect beyond conntrack's 30s and 120s (P32). Timeouts that conntrack.udpTimeout and conntrack.udpStreamTimeout leave
// unset are therefore raised to ipvs.udpTimeout where the host's are lower, never lowered, since they hold for all
// traffic of the host. Set to less than ipvs.udpTimeout, the file contradicts itself and is refused.
//
// Out of scope: whether the kernel has the scheduler, which API server to talk to when nothing is said, watching the file,
// and acting on any of it.
package config
