// Package metrics counts what the proxy does, for Prometheus: all of kube-proxy's own metrics that its ipvs mode has, with
// the same names, types, labels and meaning, so that existing dashboards and alerts go on working, and ours beside them with
// the prefix kube_ipvs_proxy_.
//
// There is no global registry: New returns a set of metrics that its caller registers and serves.
//
// Out of scope: health (package health) and traffic counters of single Services.
package metrics
