package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"time"

	"k8s.io/client-go/kubernetes"
)

const (
	startPatience  = 30 * time.Minute      // kube-proxy takes 8 for 5,000 Services in ipvs mode
	changePatience = 10 * time.Minute      // kube-proxy in ipvs mode may still be at the end of its start
	pause          = 50 * time.Millisecond // between two changes, so that each is one of its own
	settled        = 2 * time.Second       // what a start left to do is not the changes'
	leastChanges   = 5                     // however long they take
	othersTraced   = 1                     // changes of each kind under strace, which takes kube-proxy minutes
)

// guest is one piece of the benchmark, inside the lab.
type guest struct {
	options
	contestant  contestant
	environment []string // of what it runs in
	client      kubernetes.Interface
	targets     []target   // by number
	target      netip.Addr // of the Service that packets go to, if any do
	kernel      view
	within      func(func() error) error // runs something in the network namespace of the contestant
}

// runGuest fills a record with what was measured of the only size or count, and prints it as JSON.
func runGuest(ctx context.Context, o options, sizes, counts []size, client kubernetes.Interface) error {
	all, err := chosen(o.Contestants)
	if err != nil {
		return err
	}
	if len(sizes)+len(counts) != 1 {
		return fmt.Errorf("%d sizes and %d counts: a guest measures one", len(sizes), len(counts))
	}
	o.size = append(sizes, counts...)[0]
	targets, err := targetsOf(ctx, client, o)
	if err != nil {
		return fmt.Errorf("read the Services: %w", err)
	}
	in, err := install(programsOf(o, all)...)
	defer in.remove()
	if err != nil {
		return fmt.Errorf("copy the programs into memory: %w", err)
	}
	o.Programs = in.dir
	g := &guest{options: o, contestant: all[0], environment: in.environment(), client: client, targets: targets,
		within: func(f func() error) error { return f() }}
	r := record{size: o.size, Origin: origin{Kernel: kernelRelease()}}
	if len(counts) > 0 {
		r.Path, err = g.measurePaths(ctx, all)
	} else {
		r.Result, err = g.measure(ctx)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// measure goes through all phases of the contestant.
func (g *guest) measure(ctx context.Context) (*measurement, error) {
	m := &measurement{}
	if g.contestant.name == floor {
		return m, g.measureFloor(ctx, m)
	}
	if err := g.measureCold(ctx, m); err != nil {
		return nil, err
	}
	return m, g.measureWarm(ctx, m)
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
	m.try(ctx, "changes one by one", func() error { return g.measureChanges(ctx, p, m) })
	m.try(ctx, "burst", func() error { return g.measureBurst(ctx, p, m) })
	m.try(ctx, "stream", func() error { return g.measureStream(ctx, p, m) })
	m.try(ctx, "nothing to do", func() (err error) { m.Steady, err = g.measureIdle(ctx, p, g.Steady); return err })
	if m.Memory.Settled, err = p.memory("VmRSS:"); err != nil {
		return err
	}
	if m.Memory.Most, err = p.memory("VmHWM:"); err != nil {
		return err
	}
	return p.stop()
}

// try goes on after a phase that fails, but for one that was interrupted, and notes why.
func (m *measurement) try(ctx context.Context, what string, phase func() error) {
	if ctx.Err() != nil {
		return
	}
	fmt.Fprintf(os.Stderr, "bench: %s %s\n", time.Now().Format(time.TimeOnly), what)
	if err := phase(); err != nil {
		m.Failed = append(m.Failed, fmt.Sprintf("%s: %v", what, err))
	}
}

// measureChanges adds an endpoint to one Service after the other.
func (g *guest) measureChanges(ctx context.Context, p *process, m *measurement) error {
	if g.Changes == 0 {
		return nil
	}
	spent, err := p.spending(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	for n := range min(g.Changes, g.Services) {
		if n >= leastChanges && time.Since(begun) > g.ChangesFor {
			break
		}
		took, err := g.change(ctx, n, g.Endpoints+1)
		if err != nil {
			return err
		}
		m.Single.Lags = append(m.Single.Lags, took)
		time.Sleep(pause)
	}
	m.Single.Changes = len(m.Single.Lags)
	m.Single.CPU, m.Single.Heap, err = spent(ctx)
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

// measureWarm starts the program on what it left behind: once to take the time and make changes under strace, and the daemon
// once more under strace from the beginning. Audits, which may read everything, are kept out of it.
func (g *guest) measureWarm(ctx context.Context, m *measurement) error {
	defer g.kernel.close()
	var flags []string
	if g.contestant.name == self {
		flags = append(flags, noAudits)
	}
	p, err := g.start(flags...)
	if err != nil {
		return err
	}
	defer p.kill()
	l, err := p.awaitComplete(ctx, startPatience)
	if err != nil {
		return fmt.Errorf("wait for the second start: %w", err)
	}
	m.Warm.Took, m.Warm.Operations = l.at.Sub(p.started), l.Operations
	if m.Warm.CPU, err = p.cpu(); err != nil {
		return err
	}
	if g.contestant.name == self {
		m.try(ctx, "nothing to do, without audits", func() (err error) { m.Quiet, err = g.measureIdle(ctx, p, g.Steady/2); return err })
	}
	if g.Traced > 0 {
		m.try(ctx, "changes under strace", func() error { return g.traceChanges(ctx, p, m) })
	}
	if err := p.stop(); err != nil {
		return err
	}
	if g.Traced > 0 && g.contestant.name == self {
		m.try(ctx, "restart under strace", func() error { return g.traceRestart(ctx, m) })
	}
	return ctx.Err()
}
