package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/kernel/host"
	"kube-ipvs-proxy/internal/metrics"
	"kube-ipvs-proxy/internal/reconcile"
)

// countTraffic adds the metrics of single Services, unless they are turned off.
func countTraffic(registry prometheus.Registerer, serve config.Serve, reconciler *reconcile.Reconciler, kernel *host.Host, log *zap.Logger) {
	if serve.ServiceMetrics == 0 {
		return
	}
	registry.MustRegister(metrics.Traffic(metrics.TrafficSource{
		Servers: reconciler.Servers,
		Usage:   kernel.Usage,
		Failed: func(err error) {
			log.Warn("a scrape has no metrics of single Services; the next one tries again", zap.Error(err))
		},
	}, metrics.TrafficLimits{Services: serve.ServiceMetrics, Endpoints: serve.EndpointMetrics}))
}
