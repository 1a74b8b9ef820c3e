package app

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/metrics"
)

// reloadPeriod is how often the configuration file is read. What it holds counts when it is the same twice, so that one that
// is being written is not taken for a mistake. Reading it, rather than being told of changes, sees writing in place, a
// rename and the swap of a ConfigMap's symbolic link all the same.
const reloadPeriod = 2 * time.Second

// Reasons of Events. The reference for operators has these comments, too.
const (
	reasonInvalid = "InvalidConfiguration" // Node: the changed configuration file cannot be used, and the last good one stays in effect
	reasonRestart = "RestartNeeded"        // Node: fields of the configuration file changed, which are named, that only a new process takes over
)

// reloader follows the configuration file.
type reloader struct {
	clock clock.WithTicker
	log   *zap.Logger
	load  func() (config.Config, error)
	// apply has the daemon work with the second configuration instead of the first.
	apply func(ctx context.Context, before, after config.Config) error
	// tell makes an Event of the Node. It is nil without an API server.
	tell   func(ctx context.Context, reason, note string)
	counts *metrics.Reload

	mu      sync.Mutex
	current config.Config // in effect
	told    told          // touched by Run only
}

// told is what was reported last, so that it is reported once.
type told struct {
	failure  string
	restart  []string
	warnings []string
}

// config returns the configuration in effect.
func (r *reloader) config() config.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

// asked reports whether there is a file that is to be followed.
func (r *reloader) asked() bool { return r.current.Run.Reload && r.current.Run.ConfigFile != "" }

// Run follows the file until the context ends, if that is asked for.
func (r *reloader) Run(ctx context.Context) {
	if !r.asked() {
		return
	}
	path := r.config().Run.ConfigFile
	r.told.warnings = r.config().Warnings
	// Since the daemon read it, the file may have changed, so it is read anew in any case.
	var settled, seen string
	ticker := r.clock.NewTicker(reloadPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		now := contentOf(path)
		stable := now == seen
		if seen = now; !stable || now == settled {
			continue
		}
		if settled = now; !r.reload(ctx) {
			settled = "" // something else than the file is in the way, and may go
		}
	}
}

// contentOf returns what a file holds, or why it cannot be read. It is never empty.
func contentOf(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "error: " + err.Error()
	}
	return "file: " + string(data)
}

// reload takes over what the file says now, and reports whether there is nothing to be tried again.
func (r *reloader) reload(ctx context.Context) (done bool) {
	before := r.config()
	next, err := r.load()
	if err != nil {
		r.failed(ctx, err)
		return true
	}
	after, changes, err := before.Adopt(next)
	if err == nil && len(changes.Live) > 0 {
		err = r.apply(ctx, before, after)
	}
	if ctx.Err() != nil {
		return true // the daemon is stopping
	}
	if err != nil {
		r.failed(ctx, err)
		return false
	}
	r.mu.Lock()
	r.current = after
	r.mu.Unlock()
	r.succeeded(ctx, changes)
	return true
}

// failed reports that the file cannot be used.
func (r *reloader) failed(ctx context.Context, err error) {
	r.counts.Failed()
	if r.told.failure == err.Error() {
		return
	}
	r.told.failure = err.Error()
	r.log.Error("the changed configuration cannot be used, and the last good one stays in effect", zap.Error(err))
	r.event(ctx, reasonInvalid, "The changed configuration cannot be used, and the last good one stays in effect: "+err.Error())
}

// succeeded reports what became of the file.
func (r *reloader) succeeded(ctx context.Context, changes config.Changes) {
	r.counts.Succeeded(r.clock.Now(), len(changes.Restart))
	for _, warning := range r.config().Warnings {
		if !slices.Contains(r.told.warnings, warning) {
			r.log.Warn(warning)
		}
	}
	r.told.warnings = r.config().Warnings
	switch {
	case len(changes.Live) > 0:
		r.log.Info("changed configuration taken over", zap.Strings("fields", changes.Live))
	case r.told.failure != "":
		r.log.Info("the configuration can be used again; nothing in it has changed that takes effect without a new process")
	}
	r.told.failure = ""
	if !slices.Equal(changes.Restart, r.told.restart) && len(changes.Restart) > 0 {
		const how = "these fields of the configuration changed, and only a new process takes them over: recreate the pod (kubectl delete pod), " +
			"or restart the service"
		r.log.Warn(how, zap.Strings("fields", changes.Restart))
		r.event(ctx, reasonRestart, strings.Join(changes.Restart, ", ")+": "+how)
	}
	r.told.restart = changes.Restart
}

func (r *reloader) event(ctx context.Context, reason, note string) {
	if r.tell != nil {
		r.tell(ctx, reason, note)
	}
}

// errKernel: the configuration is valid and the kernel cannot do what it says.
var errKernel = errors.New("the kernel cannot do what the configuration says")
