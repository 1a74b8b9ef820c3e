package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// drained is how many endpoints of each Service go in a burst.
const drained = 5

// measureBurst takes endpoints from many Services at once, as the drain of a node does, and waits for the last of them.
func (g *guest) measureBurst(ctx context.Context, p *process, m *measurement) error {
	services := min(g.Burst, g.Services)
	if services == 0 {
		return nil
	}
	before, err := p.cpu()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	begun := time.Now()
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for n := range services {
		group.Go(func() error { return setEndpoints(writing, g.client, n, g.Endpoints-drained) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for n := range services {
		if err := g.kernel.awaitEndpoints(ctx, g.targets[n], g.Endpoints-drained); err != nil {
			return fmt.Errorf("after a burst: %w", err)
		}
	}
	m.Burst = load{Changes: services, Lags: []time.Duration{time.Since(begun)}}
	after, err := p.cpu()
	m.Burst.CPU = after - before
	return err
}

// measureStream changes one Service after the other at a steady rate. Of each second's changes one is followed into the
// kernel.
func (g *guest) measureStream(ctx context.Context, p *process, m *measurement) error {
	total := int(g.StreamFor.Seconds() * float64(g.Stream))
	if total == 0 {
		return nil
	}
	before, err := p.cpu()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, g.StreamFor+changePatience)
	defer cancel()
	lags := make(chan time.Duration, total)
	group, ctx := errgroup.WithContext(ctx)
	ticker := time.NewTicker(time.Second / time.Duration(g.Stream))
	defer ticker.Stop()
	followed := g.Services / 4 // the last ones, each of which changes once
	for n := range total {
		select {
		case <-ctx.Done():
			return group.Wait()
		case <-ticker.C:
		}
		group.Go(func() error {
			if second := n / g.Stream; n%g.Stream == 0 && second < followed {
				took, err := g.change(ctx, g.Services-1-second, g.Endpoints-1)
				lags <- took
				return err
			}
			others := g.Services - followed
			return setEndpoints(ctx, g.client, n%others, g.Endpoints-1-n/others%2)
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("in a stream of changes: %w", err)
	}
	close(lags)
	m.Stream.Changes = total
	for lag := range lags {
		m.Stream.Lags = append(m.Stream.Lags, lag)
	}
	after, err := p.cpu()
	m.Stream.CPU = after - before
	return err
}

// measureIdle does nothing for a while.
func (g *guest) measureIdle(ctx context.Context, p *process, lasting time.Duration) (idle, error) {
	if lasting == 0 {
		return idle{}, nil
	}
	time.Sleep(settled)
	cpuBefore, err := p.cpu()
	if err != nil {
		return idle{}, err
	}
	wakeupsBefore, err := p.wakeups()
	if err != nil {
		return idle{}, err
	}
	select {
	case <-ctx.Done():
		return idle{}, ctx.Err()
	case <-time.After(lasting):
	}
	cpuAfter, err := p.cpu()
	if err != nil {
		return idle{}, err
	}
	wakeupsAfter, err := p.wakeups()
	return idle{Lasted: lasting, CPU: cpuAfter - cpuBefore, Wakeups: wakeupsAfter - wakeupsBefore}, err
}
