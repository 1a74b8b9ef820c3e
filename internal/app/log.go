package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// newLogger returns a logger to standard error. The verbosity is klog's: 0 for what an operator must know, 2 for what
// the daemon does, 4 and more for how.
func newLogger(logging config.Logging, v *verbosity) (*zap.Logger, error) {
	settings := zap.NewProductionConfig()
	settings.Sampling = nil
	settings.DisableStacktrace = true
	settings.Level = zap.NewAtomicLevelAt(leastLevel) // the verbosity decides
	settings.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	settings.EncoderConfig.EncodeLevel = encodeLevel
	if logging.Format != config.LogJSON {
		settings.Encoding = "console"
		settings.EncoderConfig.CallerKey = zapcore.OmitKey // it is known all the same, for the verbosity of modules
	}
	return settings.Build(zap.WrapCore(v.wrap))
}

// encodeLevel prints the levels below info, which zap has no names for, as klog's verbosity.
func encodeLevel(level zapcore.Level, out zapcore.PrimitiveArrayEncoder) {
	if level < zapcore.InfoLevel {
		out.AppendString(fmt.Sprintf("v%d", -level))
		return
	}
	zapcore.LowercaseLevelEncoder(level, out)
}

// The verbosity of what the daemon does by itself.
const verboseRound = zapcore.Level(-2)

// mostFailures bounds how many failed operations of one round are logged one by one.
const mostFailures = 20

// logObserver tells the log what the reconciler does. Conditions are logged when they begin, change and end, rather than
// for as long as they last.
type logObserver struct {
	log *zap.Logger

	mu       sync.Mutex
	problems map[string][]service.Problem // by object
	failing  map[reconcile.Step]string    // the last error of a step
	failed   map[string]string            // the last error of an operation, while any waits to be tried again
	complete bool
}

var _ reconcile.Observer = (*logObserver)(nil)

func newLogObserver(log *zap.Logger) *logObserver {
	return &logObserver{log: log, problems: make(map[string][]service.Problem), failing: make(map[reconcile.Step]string),
		failed: make(map[string]string)}
}

// Queued implements reconcile.Observer.
func (l *logObserver) Queued(time.Time) {}

// RoundDone implements reconcile.Observer.
func (l *logObserver) RoundDone(round reconcile.Round) {
	if round.Complete && !l.complete {
		l.complete = true
		l.log.Info(l.firstSync(round), zap.Int("operations", len(round.Operations)), zap.Duration("took", round.Duration))
	}
	if len(round.Operations) == 0 {
		return
	}
	l.log.Log(verboseRound, "round done", zap.Int("services", round.Services), zap.Int("operations", len(round.Operations)),
		zap.Int("failed", len(round.Failures)), zap.Int("waiting", round.Waiting), zap.Duration("took", round.Duration))
	l.failures(round)
}

// failures logs the operations that failed as they did not before.
func (l *logObserver) failures(round reconcile.Round) {
	logged, more := 0, 0
	for _, failure := range round.Failures {
		operation, reason := failure.Operation.String(), failure.Err.Error()
		if l.failed[operation] == reason || errors.Is(failure.Err, context.Canceled) { // canceled: the daemon is stopping
			continue
		}
		l.failed[operation] = reason
		if logged == mostFailures {
			more++
			continue
		}
		logged++
		l.log.Warn("operation failed and will be tried again", zap.String("operation", operation), zap.Error(failure.Err))
	}
	if more > 0 {
		l.log.Warn("more operations failed", zap.Int("count", more))
	}
	if round.Waiting == 0 && len(l.failed) > 0 {
		l.log.Info("every operation that had failed has succeeded since, or is not wanted any more", zap.Int("operations", len(l.failed)))
		clear(l.failed)
	}
}

// firstSync says how far the first round with complete sources got.
func (l *logObserver) firstSync(round reconcile.Round) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failing) > 0 || len(round.Failures) > 0 {
		return "every source is complete: the kernel now has what they say, except for what failed and will be tried again"
	}
	return "every source is complete: the kernel now has what they say, and nothing else of ours"
}

// StepDone implements reconcile.Observer.
func (l *logObserver) StepDone(step reconcile.Step, err error) {
	if errors.Is(err, context.Canceled) {
		return // the daemon is stopping, and nothing failed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before, failing := l.failing[step]
	switch {
	case err != nil && err.Error() != before:
		l.failing[step] = err.Error()
		l.log.Error("step failed and will be tried again", zap.String("step", string(step)), zap.Error(err))
	case err == nil && failing:
		delete(l.failing, step)
		l.log.Info("step works again", zap.String("step", string(step)))
	}
}

// Audited implements reconcile.Observer.
func (l *logObserver) Audited(audit reconcile.Audit) {
	if !l.complete && len(audit.Repaired) > 0 {
		// At the first start on a node everything is missing; what that is, is for those who ask, and not to hold up the rest.
		l.log.Info("device, sets and rules are in place", zap.Int("put right", len(audit.Repaired)))
		l.log.Log(verboseRound, "put right", zap.Strings("what", audit.Repaired))
		audit.Repaired = nil
	}
	for _, repaired := range audit.Repaired {
		l.log.Info("put right", zap.String("what", repaired))
	}
	if audit.Drifted > 0 {
		l.log.Warn("the kernel was not as it was left; it is repaired", zap.Int("objects", audit.Drifted))
	}
}

// Problems implements reconcile.Observer.
func (l *logObserver) Problems(object string, problems []service.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.problems[object]
	if slices.Equal(before, problems) {
		return
	}
	for _, problem := range problems {
		if !slices.Contains(before, problem) {
			l.log.Warn(problem.Error())
		}
	}
	if len(problems) == 0 {
		delete(l.problems, object)
		l.log.Info("no problem left", zap.String("object", object))
		return
	}
	l.problems[object] = slices.Clone(problems)
}

// NodeChanged implements reconcile.Observer.
func (l *logObserver) NodeChanged(node service.Node) {
	l.log.Log(verboseRound, "node changed", zap.String("zone", node.Zone), zap.Any("addresses", node.Addresses),
		zap.Bool("deleting", node.Deleting), zap.Bool("excluded", node.Excluded))
}
