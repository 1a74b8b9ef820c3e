package app

import (
	"path"
	"strings"
	"sync/atomic"

	"go.uber.org/zap/zapcore"

	"kube-ipvs-proxy/internal/config"
)

// leastLevel is below every level that is logged.
const leastLevel zapcore.Level = -127

// verbosity says what is logged, and can be changed while the daemon runs.
type verbosity struct{ state atomic.Pointer[levels] }

// levels are what is logged at one time.
type levels struct {
	everywhere zapcore.Level // the lowest level that is logged
	lowest     zapcore.Level // the same of the most verbose source file
	modules    []config.LogModule
}

func newVerbosity(logging config.Logging) *verbosity {
	v := &verbosity{}
	v.set(logging)
	return v
}

// set has the log say as much as the configuration asks for, from now on.
func (v *verbosity) set(logging config.Logging) {
	l := &levels{everywhere: levelOf(logging.Verbosity), modules: logging.Modules}
	l.lowest = l.everywhere
	for _, module := range logging.Modules {
		l.lowest = min(l.lowest, levelOf(module.Verbosity))
	}
	v.state.Store(l)
}

// levelOf turns klog's verbosity into zap's level.
func levelOf(verbosity int) zapcore.Level {
	return max(zapcore.Level(-min(verbosity, 127)), leastLevel)
}

// wrap returns a core that writes what it may by the other.
func (v *verbosity) wrap(core zapcore.Core) zapcore.Core { return moduleCore{core, v} }

// moduleCore decides what is written when it is known which source file it comes from.
type moduleCore struct {
	zapcore.Core
	verbosity *verbosity
}

// Enabled implements zapcore.LevelEnabler: some source file may log at the level.
func (c moduleCore) Enabled(level zapcore.Level) bool {
	return level >= c.verbosity.state.Load().lowest
}

// With implements zapcore.Core.
func (c moduleCore) With(fields []zapcore.Field) zapcore.Core {
	return moduleCore{c.Core.With(fields), c.verbosity}
}

// Check implements zapcore.Core.
func (c moduleCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c moduleCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if !c.verbosity.state.Load().allow(entry.Level, entry.Caller.File) {
		return nil
	}
	return c.Core.Write(entry, fields)
}

// allow reports whether a source file may log at a level. As in klog, a module can only be made more verbose than the rest,
// and of several patterns that match the first counts. Those with a slash are for whole paths.
func (l *levels) allow(level zapcore.Level, file string) bool {
	if level >= l.everywhere {
		return true
	}
	file = strings.TrimSuffix(file, ".go")
	for _, module := range l.modules {
		name := file
		if !strings.Contains(module.Pattern, "/") {
			name = path.Base(file)
		}
		if matches, err := path.Match(module.Pattern, name); err == nil && matches {
			return level >= levelOf(module.Verbosity)
		}
	}
	return false
}
