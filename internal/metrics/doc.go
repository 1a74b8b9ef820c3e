// Package metrics counts what the proxy does, for Prometheus: all of kube-proxy's own metrics that its ipvs mode has, with
// the same names, types, labels and meaning, so that existing dashboards and alerts go on working, and ours beside them with
// the prefix kube_ipvs_proxy_. Requests to the API server are counted as every component of Kubernetes does (rest_client_).
//
// There is no global registry: New returns a set of metrics that its caller registers and serves.
//
// Most metrics are brought up to date by what the reconciler and the drivers report; those of single Services are read when
// they are asked for.
//
// Out of scope: health (package health).
package metrics
