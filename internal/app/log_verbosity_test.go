package app

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"kube-ipvs-proxy/internal/config"
)

// said returns the verbosities, of 0 to 9, at which this file gets something logged.
func said(v *verbosity) []int {
	core, logs := observer.New(leastLevel)
	log := zap.New(v.wrap(core), zap.AddCaller()).With(zap.Bool("a field", true))
	for level := range 10 {
		log.Log(zapcore.Level(-level), "text", zap.Int("level", level))
	}
	var heard []int
	for _, entry := range logs.All() {
		level, _ := entry.ContextMap()["level"].(int64)
		heard = append(heard, int(level))
	}
	return heard
}

// vmodule makes single source files more verbose, never less; the first pattern that matches counts.
func TestVerbosityOfModules(t *testing.T) {
	upTo := func(n int) []int { return []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}[:n+1] }
	for _, c := range []struct {
		name      string
		verbosity int
		modules   []config.LogModule
		want      int
	}{
		{"none", 0, nil, 0},
		{"everything", 2, nil, 2},
		{"more than there is", 1 << 20, nil, 9},
		{"another file", 1, []config.LogModule{{Pattern: "other", Verbosity: 7}}, 1},
		{"this file", 1, []config.LogModule{{Pattern: "log_verbosity_test", Verbosity: 7}}, 7},
		{"a pattern", 1, []config.LogModule{{Pattern: "log_*", Verbosity: 5}, {Pattern: "log_verbosity_test", Verbosity: 7}}, 5},
		{"never less", 4, []config.LogModule{{Pattern: "log_*", Verbosity: 1}}, 4},
		{"a path", 0, []config.LogModule{{Pattern: "log/*", Verbosity: 3}}, 0},
		{"a broken pattern", 0, []config.LogModule{{Pattern: "[", Verbosity: 3}}, 0},
	} {
		v := newVerbosity(config.Logging{Verbosity: c.verbosity, Modules: c.modules})
		if diff := cmp.Diff(upTo(c.want), said(v)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, diff)
		}
	}
}

func TestVerbosityChangesWhileRunning(t *testing.T) {
	v := newVerbosity(config.Logging{})
	core, logs := observer.New(leastLevel)
	log := zap.New(v.wrap(core), zap.AddCaller())
	for _, verbosity := range []int{0, 4, 0} {
		v.set(config.Logging{Verbosity: verbosity})
		log.Log(-3, "text")
	}
	if logs.Len() != 1 {
		t.Errorf("%d messages", logs.Len())
	}
}

// The log that the daemon writes heeds the modules in both formats.
func TestLoggerHasTheVerbosity(t *testing.T) {
	for _, format := range []string{config.LogText, config.LogJSON} {
		v := newVerbosity(config.Logging{Modules: []config.LogModule{{Pattern: "log_*", Verbosity: 3}}})
		log, err := newLogger(config.Logging{Format: format}, v)
		if err != nil {
			t.Fatal(err)
		}
		if !log.Core().Enabled(-3) || log.Core().Enabled(-4) || log.Check(-3, "text") == nil {
			t.Errorf("%s: the modules do not count", format)
		}
	}
}
