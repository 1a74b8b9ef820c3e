package app

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	clientmetrics "k8s.io/client-go/tools/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/restclient" // what kube-proxy has
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/metrics"
)

// Requests to the API server are counted as in kube-proxy: what client-go reports has the same names, types, labels, buckets
// and values.
func TestRequestsAreCountedAsInKubeProxy(t *testing.T) {
	host := fmt.Sprintf("%d.example:6443", time.Now().UnixNano()) // theirs are the process's own, and outlive a test
	registry := prometheus.NewRegistry()
	report(t, hooksOf(metrics.NewRequests(registry, clock.RealClock{})), host)
	report(t, clientmetrics.RegisterOpts{
		RequestLatency: clientmetrics.RequestLatency, RateLimiterLatency: clientmetrics.RateLimiterLatency,
		RequestSize: clientmetrics.RequestSize, ResponseSize: clientmetrics.ResponseSize,
		RequestResult: clientmetrics.RequestResult, RequestRetry: clientmetrics.RequestRetry,
		ClientCertExpiry: clientmetrics.ClientCertExpiry, ClientCertRotationAge: clientmetrics.ClientCertRotationAge,
		ExecPluginCalls: clientmetrics.ExecPluginCalls, TransportCacheEntries: clientmetrics.TransportCacheEntries,
		TransportCreateCalls: clientmetrics.TransportCreateCalls, TransportCAReloads: clientmetrics.TransportCAReloads,
		TransportCertRotationGCCalls: clientmetrics.TransportCertRotationGCCalls, TransportCacheGCCalls: clientmetrics.TransportCacheGCCalls,
	}, host)
	want := summaries(t, legacyregistry.DefaultGatherer, host)
	if len(want) != 14 {
		t.Fatalf("component-base has %d metrics of clients, not 14:\n%s", len(want), strings.Join(want, "\n"))
	}
	if diff := cmp.Diff(want, summaries(t, registry, host)); diff != "" {
		t.Errorf("(-kube-proxy +here)\n%s", diff)
	}
}

// report calls each hook, as client-go does, with a number of its own.
func report(t *testing.T, to clientmetrics.RegisterOpts, host string) {
	t.Helper()
	ctx, at, expires := t.Context(), url.URL{Scheme: "https", Host: host, Path: "/api"}, time.Now().Add(time.Hour)
	to.RequestLatency.Observe(ctx, "GET", at, 2*time.Second)
	to.RateLimiterLatency.Observe(ctx, "LIST", at, 3*time.Second)
	to.RequestSize.Observe(ctx, "POST", host, 5)
	to.ResponseSize.Observe(ctx, "GET", host, 7000)
	to.RequestResult.Increment(ctx, "200", "GET", host)
	to.RequestRetry.IncrementRetry(ctx, "429", "PUT", host)
	to.ClientCertExpiry.Set(&expires)
	to.ClientCertRotationAge.Observe(time.Minute)
	to.ExecPluginCalls.Increment(1, "plugin_execution_error")
	to.TransportCacheEntries.Observe(1)
	to.TransportCreateCalls.Increment("hit")
	to.TransportCAReloads.Increment("success", "updated")
	to.TransportCertRotationGCCalls.Increment()
	to.TransportCacheGCCalls.Increment("deleted")
}

// summaries describes the metrics of clients, and gives the values of those of a host.
func summaries(t *testing.T, from prometheus.Gatherer, host string) []string {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "rest_client_") {
			continue
		}
		var labels, bounds, values []string
		for _, metric := range family.GetMetric() {
			labels, bounds = nil, nil
			text := ""
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName())
				text += label.GetName() + "=" + label.GetValue() + " "
			}
			for _, bucket := range metric.GetHistogram().GetBucket() {
				bounds = append(bounds, fmt.Sprint(bucket.GetUpperBound()))
			}
			if strings.Contains(text, "host="+host) {
				values = append(values, fmt.Sprintf("%s%v", text, metric.GetCounter().GetValue()+metric.GetHistogram().GetSampleSum()))
			}
		}
		lines = append(lines, fmt.Sprint(family.GetName(), " ", family.GetType(), labels, bounds, values))
	}
	slices.Sort(lines)
	return lines
}
