package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reload says what became of the last change of the configuration file. It is safe for concurrent use.
type Reload struct{ successful, at, awaiting prometheus.Gauge }

// NewReload returns metrics of a daemon that has just started with its configuration, and registers them.
func NewReload(registry prometheus.Registerer, now time.Time) *Reload {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "kube_ipvs_proxy_config_" + name, Help: help})
	}
	r := &Reload{
		successful: gauge("last_reload_successful", "Whether the configuration file, as it is now, could be read and is valid"),
		at:         gauge("last_reload_success_timestamp_seconds", "When the configuration in effect was taken over"),
		awaiting:   gauge("fields_awaiting_restart", "Fields of the configuration file that only a new process takes over"),
	}
	registry.MustRegister(r.successful, r.at, r.awaiting)
	r.Succeeded(now, 0)
	return r
}

// Succeeded says that a file was taken over, except for some fields.
func (r *Reload) Succeeded(now time.Time, awaitingRestart int) {
	r.successful.Set(1)
	r.at.Set(seconds(now))
	r.awaiting.Set(float64(awaitingRestart))
}

// Failed says that the file cannot be used.
func (r *Reload) Failed() { r.successful.Set(0) }
