package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kube-ipvs-proxy/internal/admin"
	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/host"
	"kube-ipvs-proxy/internal/reconcile"
)

const (
	// workOutPatience bounds how long the sources may take to deliver everything.
	workOutPatience = time.Minute
	workOutPause    = 20 * time.Millisecond
)

// errIncomplete: not everything that is to be known is.
var errIncomplete = errors.New("not everything has been got from the sources yet (see the daemon's log), so that it is not known what is wanted: try again")

// workOut finds out what a daemon with these flags would say of this node's kernel, and changes nothing. It is a
// reconciler's answer after its first complete round, on a kernel that is only looked at. Who asks is given answers until
// there is no error.
func workOut[T any](ctx context.Context, flags *config.Flags, ask func(context.Context, admin.Answers) (T, error)) (answer T, err error) {
	var none T
	machine, err := thisMachine()
	if err != nil {
		return none, err
	}
	cfg, err := flags.Load(machine)
	if err != nil {
		return none, withStatus(statusConfig, err)
	}
	log, err := newLogger(cfg.Logging, newVerbosity(cfg.Logging))
	if err != nil {
		return none, fmt.Errorf("set up the log: %w", err)
	}
	log = log.WithOptions(zap.IncreaseLevel(zap.WarnLevel))
	ctx, cancel := context.WithTimeout(ctx, workOutPatience)
	defer cancel()
	api := connect(ctx, cfg.API)
	opened, err := host.Open(ctx, host.Options{})
	if err != nil {
		return none, withStatus(statusKernel, err)
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	if _, err := api.await(); err != nil {
		return none, withStatus(statusSource, err)
	}
	only := &onlooker{Kernel: opened, host: opened}
	reconciler := reconcile.New(only, reconcileOptions(cfg, opened.Families()), newLogObserver(log))
	ctx, done := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	for _, source := range newSources(cfg, api, reconciler, log) {
		group.Go(func() error { return withStatus(statusSource, source.Run(ctx)) })
	}
	group.Go(func() error { reconciler.Run(ctx); return nil })
	answers := answersOf(reconciler, cfg)
	answer, err = awaitAnswer(ctx, func(ctx context.Context) (T, error) { return ask(ctx, answers) })
	done()
	if failed := group.Wait(); failed != nil {
		return none, failed
	}
	return answer, err
}

// awaitAnswer returns the first answer without an error.
func awaitAnswer[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	for {
		answer, err := ask(ctx)
		if err == nil {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return answer, withStatus(statusSource, fmt.Errorf("the sources have not delivered everything within %v: "+
				"look whether the API server answers, and whether it lets list services, endpointslices and nodes", workOutPatience))
		case <-time.After(workOutPause):
		}
	}
}

// onlooker is a kernel that can be read and stays as it is: what is to be changed counts as done.
type onlooker struct {
	kernel.Kernel
	host *host.Host
	sets []dataplane.Set
}

// EnsureFoundation implements kernel.Kernel.
func (o *onlooker) EnsureFoundation(_ context.Context, foundation kernel.Foundation) ([]string, error) {
	o.sets = foundation.Sets
	return nil, nil
}

// Spared implements kernel.Kernel.
func (o *onlooker) Spared() bool { return false }

// Snapshot implements kernel.Kernel. The foundation need not be there.
func (o *onlooker) Snapshot(ctx context.Context) (*kernel.Snapshot, error) {
	found, err := o.host.Inspect(ctx, o.sets, nil)
	if err != nil {
		return nil, err
	}
	return &kernel.Snapshot{Objects: found.Objects}, nil
}

// Apply implements kernel.Kernel.
func (o *onlooker) Apply(_ context.Context, operations []dataplane.Operation) []error {
	return make([]error, len(operations))
}

// Connections implements kernel.Kernel.
func (o *onlooker) Connections(context.Context, []dataplane.VirtualServerKey) (map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error) {
	return nil, nil
}

// Subscribe implements kernel.Kernel: what changes meanwhile shows when it is compared.
func (o *onlooker) Subscribe(ctx context.Context) (<-chan dataplane.Event, error) {
	events := make(chan dataplane.Event)
	context.AfterFunc(ctx, func() { close(events) })
	return events, nil
}
