package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/events"
	"kube-ipvs-proxy/internal/kernel/host"
	"kube-ipvs-proxy/internal/kernel/ipvs"
	"kube-ipvs-proxy/internal/kernel/sysctl"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
	"kube-ipvs-proxy/internal/source/kube"
	"kube-ipvs-proxy/internal/source/manifests"
)

// prepare brings about what has to be so before the first virtual server: the scheduler, kernel parameters, timeouts.
func prepare(ctx context.Context, cfg config.Config, kernel *host.Host, log *zap.Logger) error {
	if err := kernel.CheckScheduler(ctx, cfg.IPVS.Scheduler); err != nil {
		return err
	}
	changed, warnings, err := sysctl.System{}.Apply(ctx, parameterSettings(cfg, kernel.Families()))
	for _, line := range changed {
		log.Info("kernel parameter set", zap.String("sysctl", line))
	}
	for _, warning := range warnings {
		log.Warn(warning)
	}
	if err != nil {
		return err
	}
	timeouts := ipvs.Timeouts{TCP: cfg.IPVS.TCPTimeout, TCPFin: cfg.IPVS.TCPFinTimeout, UDP: cfg.IPVS.UDPTimeout}
	if timeouts == (ipvs.Timeouts{}) {
		return nil
	}
	return kernel.SetTimeouts(ctx, timeouts)
}

func reconcileOptions(cfg config.Config, families []dataplane.Family) reconcile.Options {
	return reconcile.Options{
		Families: families,
		Service: service.Options{
			Scheduler:  cfg.IPVS.Scheduler,
			NoFallback: cfg.IPVS.NoFallback,
			Marks:      cfg.Masquerade.Marks,
			Masquerade: service.Masquerade{All: cfg.Masquerade.All, Mark: cfg.Masquerade.Mark,
				Local: service.Detector{CIDRs: cfg.Masquerade.CIDRs, Interface: cfg.Masquerade.Interface,
					NodeCIDRs: cfg.Masquerade.Mode == config.LocalNodeCIDR}},
		},
		NodePorts:    cfg.Node.NodePorts,
		NodeName:     cfg.Node.Name,
		Bind:         cfg.Node.Bind,
		Audits:       reconcile.Audits{Period: cfg.IPVS.SyncPeriod, CPUTime: cpuTime},
		MinPeriod:    cfg.IPVS.MinSyncPeriod,
		DrainTimeout: cfg.IPVS.DrainTimeout,
		Ours:         settingsOf(cfg).Ours,
		Clock:        clock.RealClock{},
	}
}

// newSources connects the sources that are configured with the reconciler: manifests, the API server, or both.
func newSources(cfg config.Config, api *connection, reconciler *reconcile.Reconciler, log *zap.Logger) []runner {
	var sources []runner
	if dir := cfg.API.Manifests; dir != "" {
		sources = append(sources, manifests.New(dir, cfg.Node.Name, reconciler.Source("manifests", manifests.Completes()...),
			manifests.Options{Log: log.Sugar().Infow}))
	}
	if api.client != nil {
		sink := reconciler.Source("api", kube.Completes()...)
		sources = append(sources, greeted{kube.New(api.client, cfg.Node.Name, sink, kube.Options{}), api})
	}
	return sources
}

// newRecorder returns what makes Kubernetes Events, or nil without an API server.
func newRecorder(client *kube.Client, node string, log *zap.Logger) *events.Recorder {
	if client == nil {
		return nil
	}
	return events.New(events.Options{Client: client, Node: node, Clock: clock.RealClock{}, Random: rand.Float64,
		Log: log.Sugar().Warnw})
}

// mostPatience bounds how long the daemon waits for an API server that it is meant to reach by its ClusterIP.
const mostPatience = 10 * time.Second

// newClient returns a client of the API server, or nil if there are only manifests. Without either, the daemon is taken to
// run in a Pod.
func newClient(ctx context.Context, api config.API) (*kube.Client, error) {
	if api.Manifests != "" && api.Kubeconfig == "" && api.Master == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, mostPatience)
	defer cancel()
	settings, err := kube.Config(ctx, kube.Connection{Kubeconfig: api.Kubeconfig, Master: api.Master,
		ContentType: api.ContentType, AcceptContentTypes: api.AcceptContentTypes, QPS: api.QPS, Burst: api.Burst,
		UserAgent: "kube-ipvs-proxy"})
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	client, err := kube.NewClient(settings)
	if err != nil {
		return nil, errors.Join(errors.New("make a client of the API server"), err)
	}
	return client, nil
}
