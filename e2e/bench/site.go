package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/standin"
	"kube-ipvs-proxy/e2e/topology"
)

// site is a contestant's node with three pods, each on a link of its own that the node routes to. All sites have the same
// addresses, in namespaces that know nothing of each other.
type site struct {
	contestant contestant
	node       *topology.Host
	client     *topology.Pod
	backend    *topology.Pod // the target Service's only endpoint
	stranger   *topology.Pod // no Service's endpoint
	network    standin.Test
}

// backendAddr is the address of the second pod of package topology's first node.
func backendAddr() netip.Addr { return netip.AddrFrom4([4]byte{10, 244, 1, 3}) }

// newSite builds a node and its pods, and the way from there to the API server.
func newSite(c contestant) (*site, error) {
	config, err := clientConfig()
	if err != nil {
		return nil, err
	}
	port, err := portOf(config.Host)
	if err != nil {
		return nil, err
	}
	s := &site{contestant: c}
	err = s.network.Build(func(t testing.TB) {
		s.node = topology.New(t, topology.Options{Pods: topology.Routed}).Node
		s.client, s.backend, s.stranger = s.node.AddPod(t, "client"), s.node.AddPod(t, "backend"), s.node.AddPod(t, "stranger")
		s.node.ForwardTCP(t, port)
	})
	if err == nil && s.backend.IPv4 != backendAddr() {
		err = fmt.Errorf("the backend has address %v, want %v", s.backend.IPv4, backendAddr())
	}
	if err != nil {
		return nil, fmt.Errorf("build a node for %s: %w", c.name, errors.Join(err, s.network.TearDown()))
	}
	return s, nil
}

// portOf returns the port of the API server on the loopback, to which namespaces forward.
func portOf(server string) (uint16, error) {
	parsed, err := url.Parse(server)
	if err != nil {
		return 0, err
	}
	port, err := strconv.ParseUint(parsed.Port(), 10, 16)
	if err != nil {
		return 0, fmt.Errorf("API server %s: want https://127.0.0.1:PORT, as .cache/bin/controlplane has it", server)
	}
	return uint16(port), nil
}

// loadPatience is how long a contestant may take to install its Services for the data path.
const loadPatience = 11 * time.Minute

// load makes the node what the contestant makes of it: it starts the contestant, waits until everything is in the kernel,
// and ends it, so that packets meet what it has installed, and nobody competes with them for processors.
func (s *site) load(ctx context.Context, g guest) error {
	g.contestant, g.within = s.contestant, s.node.Do
	if s.contestant.prepare != nil {
		return s.node.Do(func() error { return s.contestant.prepare(&g) })
	}
	ctx, cancel := context.WithTimeout(ctx, loadPatience)
	defer cancel()
	return s.node.Do(func() error { return g.install(ctx) })
}

// install has the contestant install its Services, from the thread that calls.
func (g *guest) install(ctx context.Context) error {
	kernel, err := g.contestant.watch(g.targets)
	if err != nil {
		return err
	}
	defer kernel.close()
	p, err := g.start()
	if err != nil {
		return err
	}
	defer p.kill()
	if _, err := kernel.awaitAll(ctx, g.options); err != nil {
		return err
	}
	if _, err := p.complete(ctx); err != nil { // the last rules may come after all that awaitAll sees
		return err
	}
	time.Sleep(settled)
	return p.stop()
}

// serve starts the servers of both pods, until the context ends.
func (s *site) serve(ctx context.Context) error {
	return errors.Join(serve(ctx, s.backend.Netns), serve(ctx, s.stranger.Netns))
}

// destination is where packets of a way go.
func (s *site) destination(way kinds, target netip.Addr) netip.AddrPort {
	if way == throughVIP {
		return netip.AddrPortFrom(target, servicePort)
	}
	return netip.AddrPortFrom(s.stranger.IPv4, targetPort)
}
