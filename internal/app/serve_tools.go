package app

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/conntrack"
	"kube-ipvs-proxy/internal/kernel/host"
	"kube-ipvs-proxy/internal/kernel/netfilter"
	"kube-ipvs-proxy/internal/metrics"
)

// tools are what the daemon needs from before the kernel is opened until it ends.
type tools struct {
	registry  *prometheus.Registry
	counts    *metrics.Kernel
	verbosity *verbosity
	load      func() (config.Config, error) // reads the configuration anew
}

func newTools(v *verbosity, load func() (config.Config, error)) *tools {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &tools{registry: registry, counts: metrics.NewKernel(registry), verbosity: v, load: load}
}

// hostOptions have the kernel's drivers tell the log and the metrics.
func (t *tools) hostOptions(log *zap.Logger) host.Options {
	return host.Options{
		Warn:      func(message string) { log.Warn(message) },
		Netfilter: netfilter.Options{Runner: watchedPrograms{netfilter.Host{}, t.counts.RestoreFailed}},
		Conntrack: []conntrack.Option{conntrack.WithReport(time.Now, func(p conntrack.Pass) {
			t.counts.FlowsDeleted(p.Family, p.Took, p.Deleted)
		})},
	}
}

// watchedPrograms runs programs and tells of each iptables-restore that failed, for its family.
type watchedPrograms struct {
	netfilter.Runner
	restoreFailed func(dataplane.Family)
}

// Start implements netfilter.Runner.
func (w watchedPrograms) Start(ctx context.Context, command netfilter.Command) (wait func() (string, error)) {
	end := w.Runner.Start(ctx, command)
	name := filepath.Base(command.Path)
	if !strings.HasSuffix(name, "-restore") {
		return end
	}
	family := dataplane.IPv4
	if strings.HasPrefix(name, "ip6") {
		family = dataplane.IPv6
	}
	return func() (string, error) {
		out, err := end()
		if err != nil && !errors.Is(err, context.Canceled) { // canceled: the daemon is stopping
			w.restoreFailed(family)
		}
		return out, err
	}
}
