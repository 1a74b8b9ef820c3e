package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/ipvs"
	"k8s.io/client-go/kubernetes"
)

const (
	startPatience  = 5 * time.Minute
	changePatience = 30 * time.Second
	pause          = 50 * time.Millisecond // between two changes, so that each is one of its own
)

// measurement is what one round yields.
type measurement struct {
	Cold      start
	Warm      start
	Changes   []time.Duration // from the API write to the kernel
	ChangeCPU time.Duration   // for each change
	Resident  int             // KiB, at most
	Added     trace
	Removed   trace
}

// start is one start of the daemon.
type start struct {
	Took       time.Duration // from the process's start until everything is in the kernel
	CPU        time.Duration
	Operations int // in the round that completed, as the daemon says
}

// guest is one round, inside the lab.
type guest struct {
	options
	client kubernetes.Interface
	addrs  []netip.Addr
	kernel *ipvs.Handle
}

// runGuest measures one round and prints it as JSON.
func runGuest(ctx context.Context, o options, client kubernetes.Interface) error {
	addrs, err := clusterIPs(ctx, client, o)
	if err != nil {
		return fmt.Errorf("read the Services: %w", err)
	}
	if o.Daemon, err = inMemory(o.Daemon); err != nil {
		return fmt.Errorf("copy the daemon: %w", err)
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(o.Daemon)) }()
	g := &guest{options: o, client: client, addrs: addrs}
	var m measurement
	if err := g.measureCold(ctx, &m); err != nil {
		return err
	}
	if err := g.measureWarm(ctx, &m); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

// measureCold starts the daemon on a kernel that has nothing, and makes changes.
func (g *guest) measureCold(ctx context.Context, m *measurement) error {
	w, err := watch(g.addrs)
	if err != nil {
		return err
	}
	d, err := startDaemon(g.options)
	if err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	done, err := w.await(starting, g.Services, g.Services*g.Endpoints)
	if err != nil {
		return fmt.Errorf("wait for the first start: %w", err)
	}
	w.close()
	m.Cold.Took = done.Sub(d.started)
	if m.Cold.CPU, err = d.cpu(); err != nil {
		return err
	}
	if g.kernel, err = ipvs.New(""); err != nil {
		return fmt.Errorf("open IPVS: %w", err)
	}
	time.Sleep(time.Second) // what the start left to do is not the changes'
	if err := g.measureChanges(ctx, d, m); err != nil {
		return err
	}
	if m.Resident, err = d.resident(); err != nil {
		return err
	}
	return d.stop()
}

// measureChanges adds an endpoint to one Service after the other.
func (g *guest) measureChanges(ctx context.Context, d *daemon, m *measurement) error {
	before, err := d.cpu()
	if err != nil {
		return err
	}
	for n := range min(g.Changes, g.Services) {
		took, err := g.change(ctx, n, true)
		if err != nil {
			return err
		}
		m.Changes = append(m.Changes, took)
		time.Sleep(pause)
	}
	after, err := d.cpu()
	m.ChangeCPU = (after - before) / time.Duration(max(1, len(m.Changes)))
	return err
}

// change makes one change and returns how long it took from the beginning of the API request until it was in the kernel.
func (g *guest) change(ctx context.Context, n int, added bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	begun := time.Now()
	if err := setAdded(ctx, g.client, n, g.Endpoints, added); err != nil {
		return 0, fmt.Errorf("change %s: %w", serviceName(n), err)
	}
	err := awaitReal(ctx, g.kernel, g.addrs[n], addedAddr(n), added)
	return time.Since(begun), err
}

// measureWarm starts the daemon on what it left behind, and makes changes under strace. Audits, which may read
// everything, are kept out of the traces.
func (g *guest) measureWarm(ctx context.Context, m *measurement) error {
	d, err := startDaemon(g.options, "--ipvs-sync-period=1h")
	if err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	l, err := d.complete(starting)
	if err != nil {
		return fmt.Errorf("wait for the second start: %w", err)
	}
	m.Warm.Took, m.Warm.Operations = l.at.Sub(d.started), l.Operations
	if m.Warm.CPU, err = d.cpu(); err != nil {
		return err
	}
	first := g.Services - min(g.Traced, g.Services) // Services that no change has touched so far
	for _, added := range []bool{true, false} {
		into := &m.Added
		if !added {
			into = &m.Removed
		}
		*into, err = traceOf(ctx, d, func() error {
			for n := first; n < g.Services; n++ {
				if _, err := g.change(ctx, n, added); err != nil {
					return err
				}
				time.Sleep(pause)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("trace the daemon: %w", err)
		}
	}
	return d.stop()
}
