package metrics

import (
	"context"
	"math"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// Requests holds what client-go reports of its way to the API server, by the names, labels and buckets under which every
// component of Kubernetes has it (k8s.io/component-base 0.37.2, metrics/prometheus/restclient). Its fields implement the
// interfaces of client-go's package tools/metrics that have their names. It is safe for concurrent use.
type Requests struct {
	RequestLatency, RateLimiterLatency Latency
	RequestSize, ResponseSize          Size
	RequestResult                      Results
	RequestRetry                       Retries
	Plugins                            Plugins
	Transports                         Transports
}

// Plugins counts what programs that get credentials do.
type Plugins struct {
	ClientCertExpiry      *Expiry
	ClientCertRotationAge Age
	ExecPluginCalls       Calls
}

// Transports counts what becomes of connections' settings, which clients share.
type Transports struct {
	Entries         Number
	CreateCalls     Outcomes
	CAReloads       Reasons
	RotationGCCalls Count
	CacheGCCalls    Outcomes
}

// NewRequests returns metrics and registers them.
func NewRequests(registry prometheus.Registerer, c clock.PassiveClock) *Requests {
	in := vectors{registry}
	seconds := []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60}
	bytes := []float64{64, 256, 512, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20}
	return &Requests{
		RequestLatency: Latency{in.histogram("request_duration_seconds",
			"How long requests to the API server took, until its answer began", seconds, "verb", "host")},
		RateLimiterLatency: Latency{in.histogram("rate_limiter_duration_seconds",
			"How long requests waited because of clientConnection.qps", seconds, "verb", "host")},
		RequestSize: Size{in.histogram("request_size_bytes",
			"Size of what was sent to the API server", bytes, "verb", "host")},
		ResponseSize: Size{in.histogram("response_size_bytes",
			"Size of the API server's answers, watches apart", bytes, "verb", "host")},
		RequestResult: Results{in.counter("requests_total",
			"Requests to the API server by the status of the answer", "code", "method", "host")},
		RequestRetry: Retries{in.counter("request_retries_total",
			"Requests that were sent again, by the status of the answer before", "code", "verb", "host")},
		Plugins:    newPlugins(in, c),
		Transports: newTransports(in),
	}
}

func newPlugins(in vectors, c clock.PassiveClock) Plugins {
	const minute, hour, day = 60, 3600, 86400
	expiry := &Expiry{}
	in.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: restClient + "exec_plugin_ttl_seconds",
		Help: "Time until the client certificate of a credential plugin expires; +Inf without one"},
		func() float64 { return expiry.left(c.Now()) }))
	return Plugins{
		ClientCertExpiry: expiry,
		ClientCertRotationAge: Age{in.histogram("exec_plugin_certificate_rotation_age",
			"Age in seconds at which client certificates of a credential plugin were replaced",
			[]float64{10 * minute, 30 * minute, hour, 4 * hour, day, 7 * day, 30 * day, 90 * day, 180 * day, 360 * day, 1440 * day}).WithLabelValues()},
		ExecPluginCalls: Calls{in.counter("exec_plugin_call_total",
			"Calls of a credential plugin by exit code and kind of failure", "code", "call_status")},
	}
}

func newTransports(in vectors) Transports {
	entries := prometheus.NewGauge(prometheus.GaugeOpts{Name: restClient + "transport_cache_entries",
		Help: "Transports to API servers that are kept to be shared"})
	in.registry.MustRegister(entries)
	return Transports{
		Entries: Number{entries},
		CreateCalls: Outcomes{in.counter("transport_create_calls_total",
			"Requests for a transport by whether it was kept already", "result")},
		CAReloads: Reasons{in.counter("transport_ca_reload_total",
			"Attempts to read the API server's certificate authority again", "result", "reason")},
		RotationGCCalls: Count{in.counter("transport_cert_rotation_gc_calls_total",
			"Times that following a client certificate ended because its transport is not used any more").WithLabelValues()},
		CacheGCCalls: Outcomes{in.counter("transport_cache_gc_calls_total",
			"Attempts to forget a transport that is not used any more", "result")},
	}
}

const restClient = "rest_client_"

// vectors makes metrics and registers them.
type vectors struct{ registry prometheus.Registerer }

func (v vectors) counter(name, help string, labels ...string) *prometheus.CounterVec {
	made := prometheus.NewCounterVec(prometheus.CounterOpts{Name: restClient + name, Help: help}, labels)
	v.registry.MustRegister(made)
	return made
}

func (v vectors) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	made := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: restClient + name, Help: help, Buckets: buckets}, labels)
	v.registry.MustRegister(made)
	return made
}

// Latency takes times of requests, by verb and host.
type Latency struct{ of *prometheus.HistogramVec }

// Observe takes the time of one request.
func (l Latency) Observe(_ context.Context, verb string, to url.URL, took time.Duration) {
	l.of.WithLabelValues(verb, to.Host).Observe(took.Seconds())
}

// Size takes sizes in bytes, by verb and host.
type Size struct{ of *prometheus.HistogramVec }

// Observe takes one size, in bytes.
func (s Size) Observe(_ context.Context, verb, host string, size float64) {
	s.of.WithLabelValues(verb, host).Observe(size)
}

// Results counts answers, by HTTP status, verb and host.
type Results struct{ of *prometheus.CounterVec }

// Increment counts an answer.
func (r Results) Increment(_ context.Context, code, method, host string) {
	r.of.WithLabelValues(code, method, host).Inc()
}

// Retries counts requests that are sent again, by HTTP status, verb and host.
type Retries struct{ of *prometheus.CounterVec }

// IncrementRetry counts a request.
func (r Retries) IncrementRetry(_ context.Context, code, method, host string) {
	r.of.WithLabelValues(code, method, host).Inc()
}

// Expiry is when a certificate expires.
type Expiry struct{ at atomic.Pointer[time.Time] }

// Set takes the time, nil for never.
func (e *Expiry) Set(at *time.Time) { e.at.Store(at) }

func (e *Expiry) left(now time.Time) float64 {
	at := e.at.Load()
	if at == nil {
		return math.Inf(1)
	}
	return at.Sub(now).Seconds()
}

// Age takes ages.
type Age struct{ of prometheus.Observer }

// Observe takes one age.
func (a Age) Observe(age time.Duration) { a.of.Observe(age.Seconds()) }

// Calls counts programs that ran, by exit code and what became of them.
type Calls struct{ of *prometheus.CounterVec }

// Increment counts a program.
func (c Calls) Increment(exitCode int, callStatus string) {
	c.of.WithLabelValues(strconv.Itoa(exitCode), callStatus).Inc()
}

// Number is how many there are at present.
type Number struct{ of prometheus.Gauge }

// Observe takes the number.
func (n Number) Observe(value int) { n.of.Set(float64(value)) }

// Outcomes counts by result.
type Outcomes struct{ of *prometheus.CounterVec }

// Increment counts a result.
func (o Outcomes) Increment(result string) { o.of.WithLabelValues(result).Inc() }

// Reasons counts by result and its reason.
type Reasons struct{ of *prometheus.CounterVec }

// Increment counts a result.
func (r Reasons) Increment(result, reason string) { r.of.WithLabelValues(result, reason).Inc() }

// Count counts.
type Count struct{ of prometheus.Counter }

// Increment counts one.
func (c Count) Increment() { c.of.Inc() }
