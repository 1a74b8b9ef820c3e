package metrics

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"kube-ipvs-proxy/internal/service"
)

// problemMetrics count what is known to be wrong with objects at present.
type problemMetrics struct {
	problems  prometheus.Gauge
	services  prometheus.Gauge
	conflicts prometheus.Gauge

	mu    sync.Mutex
	filed map[string][]service.Problem // by what they are filed under
	// wrong and losing count the problems, and those that are conflicts, of each Service that has any.
	wrong, losing map[string]int
}

func newProblemMetrics() *problemMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "kube_ipvs_proxy_" + name, Help: help})
	}
	return &problemMetrics{
		problems:  gauge("object_problems", "Problems known in objects of the sources"),
		services:  gauge("services_with_problems", "Services in which something cannot be used, conflicts included"),
		conflicts: gauge("services_in_conflict", "Services that are not served at an address and port because another Service has them"),
		filed:     make(map[string][]service.Problem), wrong: make(map[string]int), losing: make(map[string]int),
	}
}

// replace takes note of the problems filed under an object in place of those before.
func (m *problemMetrics) replace(object string, problems []service.Problem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.filed[object]
	delete(m.filed, object)
	if len(problems) > 0 {
		m.filed[object] = problems
	}
	m.count(before, -1)
	m.count(problems, 1)
	m.problems.Add(float64(len(problems) - len(before)))
	m.services.Set(float64(len(m.wrong)))
	m.conflicts.Set(float64(len(m.losing)))
}

func (m *problemMetrics) count(problems []service.Problem, by int) {
	for _, p := range problems {
		if !strings.HasPrefix(p.Object, "Service ") {
			continue
		}
		change(m.wrong, p.Object, by)
		if p.Rival != "" {
			change(m.losing, p.Object, by)
		}
	}
}

// change adds to a count, and forgets it at 0.
func change(counts map[string]int, key string, by int) {
	if counts[key] += by; counts[key] == 0 {
		delete(counts, key)
	}
}
