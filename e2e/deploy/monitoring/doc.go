// Package monitoring tests manifests/monitoring: that rules and dashboard name no metric which the daemon does not export,
// and, with promtool, that each alert fires when it should and only then.
//
// Out of scope: what the metrics count (package metrics), and Grafana, which is not there to be asked about the dashboard.
package monitoring
