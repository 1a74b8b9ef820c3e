package app

import (
	"github.com/prometheus/client_golang/prometheus"
	clientmetrics "k8s.io/client-go/tools/metrics"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/metrics"
)

// countRequests has client-go report its requests to a registry. client-go keeps to the first one that a process gives it.
func countRequests(registry prometheus.Registerer, c clock.PassiveClock) {
	clientmetrics.Register(hooksOf(metrics.NewRequests(registry, c)))
}

// hooksOf returns where client-go is to report what.
func hooksOf(counts *metrics.Requests) clientmetrics.RegisterOpts {
	plugins, transports := counts.Plugins, counts.Transports
	return clientmetrics.RegisterOpts{
		RequestLatency:               counts.RequestLatency,
		RateLimiterLatency:           counts.RateLimiterLatency,
		RequestSize:                  counts.RequestSize,
		ResponseSize:                 counts.ResponseSize,
		RequestResult:                counts.RequestResult,
		RequestRetry:                 counts.RequestRetry,
		ClientCertExpiry:             plugins.ClientCertExpiry,
		ClientCertRotationAge:        plugins.ClientCertRotationAge,
		ExecPluginCalls:              plugins.ExecPluginCalls,
		TransportCacheEntries:        transports.Entries,
		TransportCreateCalls:         transports.CreateCalls,
		TransportCAReloads:           transports.CAReloads,
		TransportCertRotationGCCalls: transports.RotationGCCalls,
		TransportCacheGCCalls:        transports.CacheGCCalls,
	}
}
