package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// demo is what the steps share.
type demo struct {
	say      *narrator
	network  builder
	manifest manifest
	daemon   *daemon

	node     *topology.Netns // where the daemon runs
	pod      *topology.Netns // asks from inside the cluster
	client   *topology.Netns // asks from outside
	backends []*topology.Pod
	session  *probe.Session // lives from terminate to leave
}

// step is one part of the demo.
type step struct {
	what string
	do   func(context.Context) error
}

func (d *demo) steps() []step {
	return []step{
		{"Build a network of namespaces instead of a cluster: two nodes, three web pods, a pod and an outside client that ask.", d.build},
		{"Write a manifest, which takes the API server's place: a Service with ClusterIP and NodePort, and its endpoints.", d.write},
		{"Start kube-ipvs-proxy on node-1: it turns the Service into virtual and real servers of the kernel.", d.start},
		{"Send 30 requests from a pod to the ClusterIP and 30 from outside to the NodePort: rr serves the web pods in turns.", d.ask},
		{"Open a session and let its web pod terminate: it may finish what it began, but gets nothing new.", d.terminate},
		{"End the session and remove the endpoint, as when the pod is gone: its real server leaves the kernel.", d.leave},
		{"Delete the manifest: nothing of the Service stays in the kernel.", d.remove},
		{"Stop the daemon with SIGTERM: it ends with status 0.", func(context.Context) error { return d.daemon.stop() }},
	}
}

// play goes through the steps until one fails.
func (d *demo) play(ctx context.Context) error {
	steps := d.steps()
	for i, s := range steps {
		d.say.step(i+1, len(steps), s.what)
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func (d *demo) build(ctx context.Context) error {
	err := d.network.build(func(t testing.TB) {
		top := topology.New(t, topology.Options{})
		for i, on := range []*topology.Host{top.Node, top.Node2, top.Node2} {
			d.backends = append(d.backends, on.AddPod(t, fmt.Sprintf("web-%d", i+1)))
		}
		for _, pod := range d.backends {
			backend.StartAll(t, pod.Netns, targetPort, topology.TCP)
		}
		d.node, d.client, d.pod = top.Node.Netns, top.Client.Netns, top.Node.AddPod(t, "asker").Netns
	})
	if err != nil {
		return err
	}
	if _, err := shell(ctx, d.node, "ipvsadm -Ln"); err != nil {
		return fmt.Errorf("no IPVS here, make demo runs this where it is: %w", err)
	}
	for _, pod := range d.backends {
		d.say.found("%s is %s on %s", pod.Name, pod.IPv4, pod.Host.Name)
	}
	d.say.found("%s is %s on node-1, %s is %s and knows the way to the nodes only", d.pod.Name, d.pod.IPv4, d.client.Name, d.client.IPv4)
	return nil
}

func (d *demo) write(context.Context) error {
	for _, pod := range d.backends {
		d.manifest.endpoints = append(d.manifest.endpoints, endpointOf(pod))
	}
	if err := d.manifest.write(); err != nil {
		return err
	}
	d.say.command(d.node.Name, "cat "+d.manifest.path(), d.manifest.text())
	return nil
}

func (d *demo) start(ctx context.Context) error {
	began := time.Now()
	command, err := d.daemon.start(ctx, d.node, d.manifest.dir)
	if err != nil {
		return err
	}
	d.say.command(d.node.Name, command+" &", "")
	output, err := d.awaitTable(ctx)
	if err != nil {
		return err
	}
	d.say.found("programmed %.1f s after the daemon was started", time.Since(began).Seconds())
	d.say.command(d.node.Name, "ipvsadm -Ln", output)
	return d.awaitAddresses(ctx, clusterIP().String()+"/32")
}

func (d *demo) ask(ctx context.Context) error {
	if err := d.spread(ctx, d.pod, d.inside(), 30); err != nil {
		return err
	}
	if err := d.spread(ctx, d.client, d.outside(), 30); err != nil {
		return err
	}
	d.say.found("the kernel counted the same, by connections (CPS: per second):")
	return d.say.show(ctx, d.node, "ipvsadm -Ln --stats -t "+d.inside().AddrPort.String())
}

func (d *demo) terminate(ctx context.Context) (err error) {
	if d.session, err = probe.Open(ctx, d.pod, d.inside()); err != nil {
		return err
	}
	before, err := d.session.Ask(ctx)
	if err != nil {
		return err
	}
	leaving := before.Backend
	d.say.found("the session from %s is with %s; now its endpoint in %s becomes", d.session.LocalAddr(), leaving, d.manifest.path())
	d.say.indent(d.manifest.terminate(leaving).String())
	if err := d.apply(ctx); err != nil {
		return err
	}
	after, err := d.session.Ask(ctx)
	if err != nil {
		return fmt.Errorf("the session broke when its web pod began to terminate: %w", err)
	}
	d.say.found("the session still gets its answers from %s; its entry in the kernel:", after.Backend)
	if err := d.say.show(ctx, d.node, "ipvsadm -Lnc | grep ESTABLISHED"); err != nil {
		return err
	}
	return d.spread(ctx, d.pod, d.inside(), 20)
}

func (d *demo) leave(ctx context.Context) error {
	last, err := d.session.Ask(ctx)
	if err != nil {
		return err
	}
	if err := d.session.Close(); err != nil {
		return err
	}
	d.manifest.remove(last.Backend)
	d.say.found("the session ended after one more answer; %s is taken out of %s", last.Backend, d.manifest.path())
	return d.apply(ctx)
}

func (d *demo) remove(ctx context.Context) error {
	if err := os.Remove(d.manifest.path()); err != nil {
		return err
	}
	d.say.command(d.node.Name, "rm "+d.manifest.path(), "")
	err := await(ctx, "an empty table", func() error {
		output, err := shell(ctx, d.node, "ipvsadm -Sn")
		if err == nil && output != "" {
			err = fmt.Errorf("ipvsadm -Sn still prints:\n%s", output)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := d.say.show(ctx, d.node, "ipvsadm -Ln"); err != nil {
		return err
	}
	return d.awaitAddresses(ctx)
}

// apply writes the manifest, waits until the kernel has what it says, and shows that.
func (d *demo) apply(ctx context.Context) error {
	if err := d.manifest.write(); err != nil {
		return err
	}
	began := time.Now()
	output, err := d.awaitTable(ctx)
	if err != nil {
		return err
	}
	d.say.found("programmed within %.1f s", time.Since(began).Seconds())
	d.say.command(d.node.Name, "ipvsadm -Ln", output)
	return nil
}

// awaitTable waits until the real servers behind both addresses are those of the manifest, and returns what ipvsadm -Ln printed.
func (d *demo) awaitTable(ctx context.Context) (output string, err error) {
	err = await(ctx, "what the manifest says in the kernel", func() error {
		if output, err = shell(ctx, d.node, "ipvsadm -Ln"); err != nil {
			return err
		}
		parsed, err := parseTable(output)
		if err != nil {
			return err
		}
		return parsed.check(d.manifest.weights(), d.inside().AddrPort.String(), d.outside().AddrPort.String())
	})
	return output, err
}

// awaitAddresses waits until kube-ipvs0 has the addresses and no others, and shows it.
func (d *demo) awaitAddresses(ctx context.Context, addresses ...string) error {
	const command = "ip -brief address show dev kube-ipvs0"
	var output string
	err := await(ctx, "the addresses of kube-ipvs0", func() (err error) {
		if output, err = shell(ctx, d.node, command); err != nil {
			return err
		}
		if fields := strings.Fields(output); len(fields) < 2 || strings.Join(fields[2:], " ") != strings.Join(addresses, " ") {
			return fmt.Errorf("%q, want the addresses %v", output, addresses)
		}
		return nil
	})
	if err == nil {
		d.say.command(d.node.Name, command, output)
	}
	return err
}

// inside is the Service for pods, outside the Service for everybody who reaches the node.
func (d *demo) inside() probe.Target { return probe.To(topology.TCP, clusterIP(), servicePort) }

func (d *demo) outside() probe.Target { return probe.To(topology.TCP, d.node.IPv4, nodePort) }

// spread sends requests, each on a connection of its own, and checks that every serving pod got the same number of them.
// That is exact: the rr scheduler goes around, and nobody else asks.
func (d *demo) spread(ctx context.Context, from *topology.Netns, target probe.Target, requests int) error {
	tally, err := probe.AskN(ctx, from, target, requests)
	if err != nil {
		return err
	}
	d.say.found("%d requests from %s to %s: %s", requests, from.Name, target.AddrPort, tally)
	pods := d.manifest.serving()
	var uneven error
	for _, pod := range pods {
		if got, want := tally.Backends[pod], requests/len(pods); got != want {
			uneven = errors.Join(uneven, fmt.Errorf("%s got %d of %d requests to %s, want %d", pod, got, requests, target.AddrPort, want))
		}
	}
	return uneven
}
