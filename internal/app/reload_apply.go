package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/events"
	"kube-ipvs-proxy/internal/metrics"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/source/kube"
)

// newReloader returns what follows the configuration file, if that is asked for, and knows in any case which configuration
// is in effect. client is nil without an API server.
func newReloader(cfg config.Config, tools *tools, to live, client *kube.Client, log *zap.Logger) *reloader {
	wall := clock.RealClock{}
	r := &reloader{clock: wall, log: log, load: tools.load, apply: to.apply, current: cfg}
	if !r.asked() {
		return r
	}
	r.counts = metrics.NewReload(tools.registry, wall.Now())
	if client != nil {
		r.tell = nodeEvents(client, cfg.Node.Name, wall.Now, log)
	}
	return r
}

// adjustmentOf returns what the reconciler can be told of the configuration while it runs.
func adjustmentOf(cfg config.Config) reconcile.Adjustment {
	return reconcile.Adjustment{
		Scheduler:     cfg.IPVS.Scheduler,
		MasqueradeAll: cfg.Masquerade.All,
		NodePorts:     cfg.Node.NodePorts,
		AuditPeriod:   cfg.IPVS.SyncPeriod,
		MinPeriod:     cfg.IPVS.MinSyncPeriod,
		Ours:          settingsOf(cfg).Ours,
	}
}

// live is what a configuration can be applied to while the daemon runs.
type live struct {
	checkScheduler func(context.Context, string) error
	adjust         func(context.Context, reconcile.Adjustment) error
	patience       func(time.Duration)
	verbosity      *verbosity
	show           func(config.Config) // to those who ask the daemon what it wants
}

// apply has the daemon work with the second configuration instead of the first, with all of it or nothing.
func (l live) apply(ctx context.Context, before, after config.Config) error {
	if name := after.IPVS.Scheduler; name != before.IPVS.Scheduler {
		if err := l.checkScheduler(ctx, name); err != nil {
			return fmt.Errorf("%w: ipvs.scheduler: %q: %w", errKernel, name, err)
		}
	}
	if err := l.adjust(ctx, adjustmentOf(after)); err != nil {
		return err
	}
	l.patience(2 * after.IPVS.SyncPeriod)
	l.verbosity.set(after.Logging)
	l.show(after)
	return nil
}

// The longest note and reporting instance that the API takes, in bytes, and how long an Event may take.
const (
	mostNote     = 1024
	mostInstance = 128
	eventTimeout = 10 * time.Second
)

// nodeEvents returns the function that makes Events about the node. There is one for each
// change that an operator must act on; a ConfigMap reaches the nodes of a cluster one after the other, within a minute or more.
func nodeEvents(client events.Client, node string, now func() time.Time, log *zap.Logger) func(ctx context.Context, reason, note string) {
	return func(ctx context.Context, reason, note string) {
		ctx, cancel := context.WithTimeout(ctx, eventTimeout)
		defer cancel()
		if err := client.CreateEvent(ctx, nodeEvent(node, reason, note, now())); err != nil {
			log.Warn("no Event was made of this, it is in the log only", zap.String("reason", reason), zap.Error(err))
		}
	}
}

// nodeEvent returns a warning about the node, as kubectl describe node looks for it: in the namespace default, and with the
// node's name for its UID, as the kubelet gives.
func nodeEvent(node, reason, note string, at time.Time) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: fmt.Sprintf("%s.%x", node, at.UnixNano())},
		EventTime:           metav1.NewMicroTime(at),
		ReportingController: "kube-ipvs-proxy",
		ReportingInstance:   node[:min(len(node), mostInstance)],
		Type:                corev1.EventTypeWarning,
		Reason:              reason,
		Action:              "Configure",
		Note:                strings.ToValidUTF8(note[:min(len(note), mostNote)], ""),
		Regarding:           corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: types.UID(node)},
	}
}
