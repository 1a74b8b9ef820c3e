package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The data path is measured in one kernel, in which each contestant has a node of its own: all of them with the same memory,
// processors and history. Their runs alternate, and each round of runs begins with another one.
//
// What the nodes share are the kernel's tables of virtual servers and of connections. The time of one look-up there, which
// both IPVS contestants pay, is that of twice as many entries as either would have alone.

// measurePaths has every contestant install the Services and then measures packets by turns.
func (g *guest) measurePaths(ctx context.Context, all []contestant) (*dataPath, error) {
	var err error
	if g.target, err = g.targetAddr(ctx); err != nil {
		return nil, err
	}
	d := &dataPath{LeftOut: map[string]string{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sites []*site
	for _, c := range all {
		s, err := newSite(c)
		if err != nil {
			return nil, err
		}
		defer func() { _ = s.network.TearDown() }() // what was measured counts all the same
		if err := s.ready(ctx, *g); errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			d.LeftOut[c.name] = fmt.Sprintf("not done after %v: %v", loadPatience, err)
			continue
		} else if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", c.name, err) // at once: taking the network down takes a while
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		sites = append(sites, s)
	}
	return d, g.alternate(ctx, d, sites)
}

// ready makes a site one that packets can be sent in.
func (s *site) ready(ctx context.Context, g guest) error {
	if err := s.serve(ctx); err != nil {
		return err
	}
	begun := time.Now()
	if err := s.load(ctx, g); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "bench: %d Services, %s: installed in %v\n", g.Services, s.contestant.name, time.Since(begun).Round(time.Millisecond))
	for _, way := range s.ways() {
		if err := s.awaitAnswer(ctx, s.destination(way, g.target)); err != nil {
			return err
		}
	}
	return nil
}

// ways are those that the contestant takes part in.
func (s *site) ways() []kinds {
	var ways []kinds
	for _, way := range []kinds{direct, throughVIP} {
		if s.contestant.takes&way != 0 {
			ways = append(ways, way)
		}
	}
	return ways
}

// awaitAnswer waits until both protocols work.
func (s *site) awaitAnswer(ctx context.Context, to netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	return s.client.Do(func() error {
		for {
			var f flow
			err := errors.Join(f.connect(to, 1, mostWait), f.stream(to, packetWait))
			if f.Connects > 0 && f.Packets > 0 {
				return nil
			}
			if ctx.Err() != nil {
				return fmt.Errorf("no answer from %v, for %d connections and %.0f packets: %w", to, f.Connects, f.Packets,
					errors.Join(err, unix.ETIMEDOUT))
			}
			time.Sleep(packetWait)
		}
	})
}

// alternate measures all sites by turns. The first turn is for caches to fill, and does not count.
func (g *guest) alternate(ctx context.Context, d *dataPath, sites []*site) error {
	for run := range g.Runs + 1 {
		for i := range sites {
			s := sites[(i+run)%len(sites)]
			for _, way := range s.ways() {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				f := flow{Contestant: s.contestant.name, Way: way, Run: run}
				to := s.destination(way, g.target)
				err := s.client.Do(func() error { return errors.Join(f.connect(to, g.Connects, g.FlowFor), f.stream(to, g.FlowFor)) })
				if err != nil {
					return fmt.Errorf("%s, run %d: %w", s.contestant.name, run, err)
				}
				if run > 0 {
					d.Flows = append(d.Flows, f)
				}
			}
		}
	}
	return nil
}

// targetAddr reads the address of the Service that packets go to.
func (g *guest) targetAddr(ctx context.Context) (netip.Addr, error) {
	service, err := g.client.CoreV1().Services(namespace).Get(ctx, targetName, metav1.GetOptions{})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read the Service that packets go to: %w", err)
	}
	return netip.ParseAddr(service.Spec.ClusterIP)
}
