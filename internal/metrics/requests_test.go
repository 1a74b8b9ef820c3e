package metrics_test

import (
	"math"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clocktesting "k8s.io/utils/clock/testing"

	"kube-ipvs-proxy/internal/metrics"
)

// requested has every metric about requests to the API server in a registry, with a value.
func requested(t *testing.T, registry prometheus.Registerer, now time.Time) {
	t.Helper()
	const host = "10.96.0.1:443"
	r, at := metrics.NewRequests(registry, clocktesting.NewFakePassiveClock(now)), url.URL{Host: host}
	r.RequestLatency.Observe(t.Context(), "GET", at, time.Second)
	r.RateLimiterLatency.Observe(t.Context(), "GET", at, time.Second)
	r.RequestSize.Observe(t.Context(), "GET", host, 1)
	r.ResponseSize.Observe(t.Context(), "GET", host, 1)
	r.RequestResult.Increment(t.Context(), "200", "GET", host)
	r.RequestRetry.IncrementRetry(t.Context(), "429", "GET", host)
	r.Plugins.ExecPluginCalls.Increment(0, "no_error")
	r.Transports.CreateCalls.Increment("hit")
	r.Transports.CAReloads.Increment("success", "updated")
	r.Transports.CacheGCCalls.Increment("deleted")
}

// A client certificate's time is what is left of it, and endless without one.
func TestTimeLeftOfAClientCertificate(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	registry := prometheus.NewRegistry()
	r := metrics.NewRequests(registry, clocktesting.NewFakePassiveClock(now))
	past, future := now.Add(-time.Minute), now.Add(time.Hour)
	for _, c := range []struct {
		at   *time.Time
		want float64
	}{{nil, math.Inf(1)}, {&future, 3600}, {&past, -60}, {nil, math.Inf(1)}} {
		r.Plugins.ClientCertExpiry.Set(c.at)
		if got := values(t, registry)["rest_client_exec_plugin_ttl_seconds"]; got != c.want {
			t.Errorf("with a certificate until %v: %v, want %v", c.at, got, c.want)
		}
	}
}
