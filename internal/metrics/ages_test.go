package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"kube-ipvs-proxy/internal/metrics"
)

// P30: an operator can see how stale each source is.
func TestP30SourceAges(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.SourceAges(func() map[string]time.Duration {
		return map[string]time.Duration{"kube/services": 90 * time.Second}
	}))
	want := `
# HELP kube_ipvs_proxy_source_last_event_age_seconds Time since the API server last said anything about a source, bookmarks included
# TYPE kube_ipvs_proxy_source_last_event_age_seconds gauge
kube_ipvs_proxy_source_last_event_age_seconds{source="kube/services"} 90
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
