package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/kubernetes"
)

const (
	startPatience  = 30 * time.Minute // kube-proxy takes 8 for 5,000 Services in ipvs mode
	changePatience = 2 * time.Minute
	pause          = 50 * time.Millisecond // between two changes, so that each is one of its own
	settled        = 2 * time.Second       // what a start left to do is not the changes'
	// A contestant that takes long for a change makes fewer of them.
	leastChanges = 10
	mostChanging = 5 * time.Minute
)

// measurement is what one contestant did in one round.
type measurement struct {
	Contestant string
	Cold       start
	Warm       start
	Single     load // changes one by one
	Burst      load
	Stream     load
	Steady     idle
	Memory     memory
	Added      trace
	Removed    trace
}

// memory is what is resident, in KiB.
type memory struct{ AfterStart, Most int }

// start is one start of the program.
type start struct {
	Took       time.Duration // from the process's start until everything is in the kernel
	CPU        time.Duration
	Rounds     time.Duration // of the daemon, as it says: translating, planning and writing
	Operations int           // in the round that completed, as the daemon says
}

// guest is one round of one contestant, inside the lab.
type guest struct {
	options
	contestant  contestant
	environment []string // of what it runs in
	client      kubernetes.Interface
	targets     []target // by number
	kernel      view
}

// runGuest measures the only contestant of the options in one round and prints it as JSON.
func runGuest(ctx context.Context, o options, client kubernetes.Interface) error {
	all, err := chosen(o.Contestants)
	if err != nil {
		return err
	}
	targets, err := targetsOf(ctx, client, o)
	if err != nil {
		return fmt.Errorf("read the Services: %w", err)
	}
	in, err := install(programsOf(o, all[0])...)
	defer in.remove()
	if err != nil {
		return fmt.Errorf("copy the programs into memory: %w", err)
	}
	o.Programs = in.dir
	g := &guest{options: o, contestant: all[0], environment: in.environment(), client: client, targets: targets}
	m := measurement{Contestant: g.contestant.name}
	phases := []func(context.Context, *measurement) error{g.measureCold, g.measureWarm}
	if g.contestant.name == floor {
		phases = []func(context.Context, *measurement) error{g.measureFloor}
	}
	for _, phase := range phases {
		if err := phase(ctx, &m); err != nil {
			return fmt.Errorf("%s: %w", g.contestant.name, err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

// measureCold starts the program on a kernel that has nothing, and makes changes.
func (g *guest) measureCold(ctx context.Context, m *measurement) error {
	var err error
	if g.kernel, err = g.contestant.watch(g.targets); err != nil {
		return err
	}
	p, err := g.start()
	if err != nil {
		return err
	}
	defer p.kill()
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	done, err := g.kernel.awaitAll(starting, g.options)
	if err != nil {
		return fmt.Errorf("wait for the first start: %w", err)
	}
	m.Cold.Took = done.Sub(p.started)
	if m.Cold.CPU, err = p.cpu(); err != nil {
		return err
	}
	time.Sleep(settled)
	m.Cold.Rounds = p.rounds()
	if m.Memory.AfterStart, err = p.memory("VmRSS:"); err != nil {
		return err
	}
	for _, phase := range []func(context.Context, *process, *measurement) error{g.measureChanges, g.measureBurst, g.measureStream, g.measureSteady} {
		if err := phase(ctx, p, m); err != nil {
			return err
		}
	}
	if m.Memory.Most, err = p.memory("VmHWM:"); err != nil {
		return err
	}
	return p.stop()
}

// measureChanges adds an endpoint to one Service after the other.
func (g *guest) measureChanges(ctx context.Context, p *process, m *measurement) error {
	before, err := p.cpu()
	if err != nil {
		return err
	}
	begun := time.Now()
	for n := range min(g.Changes, g.Services) {
		if n >= leastChanges && time.Since(begun) > mostChanging {
			break
		}
		took, err := g.change(ctx, n, g.Endpoints+1)
		if err != nil {
			return err
		}
		m.Single.Lags = append(m.Single.Lags, took)
		time.Sleep(pause)
	}
	after, err := p.cpu()
	m.Single.Changes, m.Single.CPU = len(m.Single.Lags), after-before
	return err
}

// change gives a Service so many endpoints and returns how long it took from the beginning of the API request until that was
// in the kernel.
func (g *guest) change(ctx context.Context, n, endpoints int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	begun := time.Now()
	if err := setEndpoints(ctx, g.client, n, endpoints); err != nil {
		return 0, err
	}
	err := g.kernel.awaitEndpoints(ctx, g.targets[n], endpoints)
	return time.Since(begun), err
}

// measureWarm starts the program on what it left behind and, if it is this project's, makes changes under strace. Audits,
// which may read everything, are kept out of the traces.
func (g *guest) measureWarm(ctx context.Context, m *measurement) error {
	defer g.kernel.close()
	var flags []string
	if g.contestant.name == self {
		flags = append(flags, "--ipvs-sync-period=1h")
	}
	p, err := g.start(flags...)
	if err != nil {
		return err
	}
	defer p.kill()
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	l, err := p.complete(starting)
	if err != nil {
		return fmt.Errorf("wait for the second start: %w", err)
	}
	m.Warm.Took, m.Warm.Operations = l.at.Sub(p.started), l.Operations
	if m.Warm.CPU, err = p.cpu(); err != nil {
		return err
	}
	if g.contestant.name == self {
		if err := g.measureTraces(ctx, p, m); err != nil {
			return fmt.Errorf("trace it: %w", err)
		}
	}
	return p.stop()
}

// measureTraces makes changes under strace, of Services that no change has touched so far.
func (g *guest) measureTraces(ctx context.Context, p *process, m *measurement) error {
	first := g.Services - min(g.Traced, g.Services)
	for _, step := range []struct {
		into      *trace
		endpoints int
	}{{&m.Added, g.Endpoints + 1}, {&m.Removed, g.Endpoints}} {
		var err error
		*step.into, err = traceOf(ctx, p, func() error {
			for n := first; n < g.Services; n++ {
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
	return nil
}
