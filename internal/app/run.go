package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/admin/page"
	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/health"
	"kube-ipvs-proxy/internal/kernel/host"
	"kube-ipvs-proxy/internal/kernel/sysctl"
	"kube-ipvs-proxy/internal/metrics"
	"kube-ipvs-proxy/internal/reconcile"
)

// run reads the configuration and does what it asks for.
func run(ctx context.Context, flags *config.Flags, ignoreRival bool, out io.Writer) error {
	machine, err := thisMachine()
	if err != nil {
		return err
	}
	load := func() (config.Config, error) { return flags.Load(machine) }
	cfg, err := load()
	if err != nil {
		return withStatus(statusConfig, err)
	}
	if cfg.Run.ShowVersion {
		_, err := fmt.Fprintln(out, "kube-ipvs-proxy", version())
		return err
	}
	tools := newTools(newVerbosity(cfg.Logging), load)
	log, err := newLogger(cfg.Logging, tools.verbosity)
	if err != nil {
		return fmt.Errorf("set up the log: %w", err)
	}
	defer func() { _ = log.Sync() }() // standard error cannot always be synced, and there is nobody left to tell
	klog.SetLogger(zapr.NewLogger(log.Named("client-go")))
	for _, warning := range cfg.Warnings {
		log.Warn(warning)
	}
	if err := errors.Join(adjustOOMScore(cfg.Run.OOMScoreAdj), keepSmallPages()); err != nil {
		log.Warn(err.Error())
	}
	if cfg.Run.WriteTo != "" {
		return config.WriteFile(cfg.Run.WriteTo, &cfg.File)
	}
	held, err := claim(ctx, cfg, ignoreRival, log)
	if err != nil {
		return err
	}
	defer held.close()
	api := &connection{}
	if !cfg.Run.Cleanup && !cfg.Run.InitOnly {
		countRequests(tools.registry, clock.RealClock{})
		api = connect(ctx, cfg.API) // it takes as long as what follows, and needs nothing of it
	}
	kernel, err := host.Open(ctx, tools.hostOptions(log))
	if err != nil {
		return withStatus(statusKernel, err)
	}
	defer func() { _ = kernel.Close() }()
	warnOfFamilies(kernel, log)
	if cfg.Run.Cleanup {
		return cleanup(ctx, cfg, kernel, out)
	}
	if err := prepare(ctx, cfg, kernel, log); err != nil {
		return withStatus(statusKernel, err)
	}
	if cfg.Run.InitOnly {
		log.Info("kernel parameters are set; nothing more to do")
		return nil
	}
	return serve(ctx, cfg, tools, kernel, api, held, log)
}

// thisMachine returns what the configuration depends on, as it is before the daemon changes anything.
func thisMachine() (config.Host, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return config.Host{}, fmt.Errorf("read the host's name: %w; give --hostname-override", err)
	}
	return config.Host{
		Hostname:         hostname,
		UDPTimeout:       sysctl.System{}.Seconds("net/netfilter/nf_conntrack_udp_timeout"),
		UDPStreamTimeout: sysctl.System{}.Seconds("net/netfilter/nf_conntrack_udp_timeout_stream"),
	}, nil
}

// warnOfFamilies says which families the kernel cannot serve.
func warnOfFamilies(kernel *host.Host, log *zap.Logger) {
	for _, family := range dataplane.Families() {
		if err := kernel.Available(family); err != nil {
			log.Warn("left out: no Service is served on this node over "+family.String(), zap.Error(err))
		}
	}
}

// adjustOOMScore tells the kernel how readily to kill this process when memory runs out. Not being allowed to is no
// reason not to run.
func adjustOOMScore(score int) error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(score)), 0); err != nil {
		return fmt.Errorf("set oomScoreAdj to %d: %w; lowering it needs CAP_SYS_RESOURCE", score, err)
	}
	return nil
}

// version is the module's version, as the Go toolchain recorded it in the binary.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

// serve runs the daemon until the context ends.
func serve(ctx context.Context, cfg config.Config, tools *tools, kernel *host.Host, api *connection, held *lock, log *zap.Logger) error {
	registry, families, wall := tools.registry, kernel.Families(), clock.RealClock{}
	state := health.NewState(wall, 2*cfg.IPVS.SyncPeriod, families)
	counts := metrics.New(registry, wall, families)
	history := page.NewHistory(wall)
	observers := reconcile.Observers{newLogObserver(log), state, counts, newThrift(wall), history}
	client, err := api.await()
	if err != nil {
		return withStatus(statusSource, err)
	}
	recorder := newRecorder(client, cfg.Node.Name, log)
	if recorder != nil {
		registry.MustRegister(metrics.EventOutcomes(recorder.Counts))
		observers = append(observers, recorder)
	}
	checks := health.NewServiceChecks(wall, state.Healthy, observers.Problems)
	reconciler := reconcile.New(kernel, reconcileOptions(cfg, families), append(observers, checks))
	registry.MustRegister(metrics.Changes(reconciler.Changes))
	countTraffic(registry, cfg.Serve, reconciler, kernel, log)
	held.show(answersOf(reconciler, cfg))
	group, ctx := errgroup.WithContext(ctx)
	sources := newSources(cfg, api, reconciler, log)
	more, err := statusPage(cfg.Node.Name, reconciler, kernel, sources, history, state)
	if err != nil {
		return err
	}
	for _, source := range sources {
		if aging, ok := source.(aging); ok {
			registry.MustRegister(metrics.SourceAges(aging.Ages))
		}
		group.Go(func() error { return withStatus(statusSource, source.Run(ctx)) })
	}
	group.Go(func() error { reconciler.Run(ctx); return nil })
	group.Go(func() error { checks.Run(ctx); return nil })
	if recorder != nil {
		group.Go(func() error { recorder.Run(ctx); return nil })
	}
	follow := newReloader(cfg, tools, live{kernel.CheckScheduler, reconciler.Adjust, state.SetPatience, tools.verbosity,
		func(c config.Config) { held.show(answersOf(reconciler, c)) }}, client, log)
	group.Go(func() error { follow.Run(ctx); return nil })
	shown := views{registry: registry, config: func() any { c := follow.config(); return &c.File }, started: wall.Now(),
		profiling: cfg.Serve.Profiling, more: more}
	for _, s := range []server{
		{"health", cfg.Serve.Healthz, state.Handler(counts.HealthAnswered)},
		{"metrics", cfg.Serve.Metrics, shown.handler()},
	} {
		group.Go(func() error { return withStatus(statusListen, s.serve(ctx, cfg.Serve.HardFail, log)) })
	}
	log.Info("started", zap.String("node", cfg.Node.Name), zap.String("scheduler", cfg.IPVS.Scheduler), zap.Stringers("families", families))
	err = group.Wait()
	log.Info("stopped: everything in the kernel stays as it is")
	return err
}

// runner is a source that delivers until the context ends.
type runner interface{ Run(context.Context) error }

// Exit statuses, apart from 0 and the 1 of every other error. The reference for operators has these comments, too.
const (
	statusConfig = 2 // the configuration or the command line is wrong
	statusKernel = 3 // the kernel lacks something, or forbids it
	statusSource = 4 // the way to the API server is unusable, or the manifests cannot be read
	statusListen = 5 // an address to listen on is taken (with --bind-address-hard-fail)
	statusTaken  = 6 // another kube-ipvs-proxy runs in this network namespace
	statusRival  = 7 // kube-proxy runs on this node
)

// statusError is an error with an exit status of its own.
type statusError struct {
	status int
	error
}

func (e statusError) Unwrap() error { return e.error }

func withStatus(status int, err error) error {
	if err == nil {
		return nil
	}
	return statusError{status, err}
}

// ExitStatus is the status with which the process should exit because of the error.
func ExitStatus(err error) int {
	var withStatus statusError
	if errors.As(err, &withStatus) {
		return withStatus.status
	}
	if err != nil {
		return 1
	}
	return 0
}
