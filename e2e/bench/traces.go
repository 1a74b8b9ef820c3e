package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// noAudits keeps the daemon from reading everything now and then.
const noAudits = "--ipvs-sync-period=1h"

// traceChanges makes changes under strace, of Services that no change has touched so far.
func (g *guest) traceChanges(ctx context.Context, p *process, m *measurement) error {
	changes := min(g.Traced, g.Services)
	if g.contestant.name != self {
		changes = min(changes, othersTraced)
	}
	for _, step := range []struct {
		into      *trace
		endpoints int
	}{{&m.Traced.Added, g.Endpoints + 1}, {&m.Traced.Removed, g.Endpoints}} {
		var err error
		*step.into, err = traceOf(ctx, p, func() error {
			for n := g.Services - changes; n < g.Services; n++ {
				if _, err := g.change(ctx, n, step.endpoints); err != nil {
					return err
				}
				time.Sleep(pause)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	m.Traced.Changes = changes
	return nil
}

// stopped is a script that waits to be continued and then becomes its arguments, so that a trace sees all of them.
const stopped = `kill -STOP $$; exec "$@"`

// traceRestart starts the daemon on what it left behind, under strace.
func (g *guest) traceRestart(ctx context.Context, m *measurement) error {
	arguments, err := g.contestant.arguments(g.options)
	if err != nil {
		return err
	}
	program := filepath.Join(g.Programs, g.contestant.program)
	p, err := g.launch(exec.Command("/bin/sh", append([]string{"-c", stopped, "sh", program, noAudits}, arguments...)...))
	if err != nil {
		return err
	}
	defer p.kill()
	m.Traced.Restart, err = traceOf(ctx, p, func() error {
		if err := p.command.Process.Signal(syscall.SIGCONT); err != nil {
			return err
		}
		_, err := p.awaitComplete(ctx, startPatience)
		return err
	})
	if err != nil {
		return fmt.Errorf("trace a start: %w", err)
	}
	return p.stop()
}
