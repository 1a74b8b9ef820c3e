package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/standin"
	"kube-ipvs-proxy/e2e/topology"
)

const (
	// bindDevice holds the virtual addresses.
	bindDevice    = "kube-ipvs0"
	showAddresses = "ip -brief address show dev " + bindDevice
)

// demo is what the steps share.
type demo struct {
	say      *narrator
	network  standin.Test
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
	err := d.network.Build(func(t testing.TB) {
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
	// The daemon binds an address when everything behind it is there, so this is the last to come.
	if err := d.awaitAddresses(ctx, clusterIP().String()+"/32"); err != nil {
		return err
	}
	if err := d.showTable(ctx, began); err != nil {
		return err
	}
	return d.say.show(ctx, d.node, showAddresses)
}

func (d *demo) ask(ctx context.Context) error {
	if err := d.spread(ctx, d.pod, d.inside(), 30); err != nil {
		return err
	}
	if err := d.spread(ctx, d.client, d.outside(), 30); err != nil {
		return err
	}
	d.say.found("the kernel keeps the ended connections for a while, as InActConn:")
	for _, target := range []probe.Target{d.inside(), d.outside()} {
		if err := d.say.show(ctx, d.node, "ipvsadm -Ln -t "+target.AddrPort.String()); err != nil {
			return err
		}
	}
	return nil
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
	if err := d.awaitAddresses(ctx); err != nil {
		return err
	}
	err := d.say.await(ctx, "an empty table", func() error {
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
	return d.say.show(ctx, d.node, showAddresses)
}

// apply writes the manifest and shows what becomes of it.
func (d *demo) apply(ctx context.Context) error {
	if err := d.manifest.write(); err != nil {
		return err
	}
	return d.showTable(ctx, time.Now())
}

// showTable waits until the real servers behind both addresses are those of the manifest, and shows the table and the
// time since the change began.
func (d *demo) showTable(ctx context.Context, began time.Time) error {
	const command = "ipvsadm -Ln"
	var output string
	err := d.say.await(ctx, "the manifest's endpoints in the kernel", func() (err error) {
		if output, err = shell(ctx, d.node, command); err != nil {
			return err
		}
		parsed, err := parseTable(output)
		if err != nil {
			return err
		}
		return parsed.check(d.manifest.weights(), d.inside().AddrPort.String(), d.outside().AddrPort.String())
	})
	if err == nil {
		d.say.found("in the kernel after %.1f s", time.Since(began).Seconds())
		d.say.command(d.node.Name, command, output)
	}
	return err
}

// awaitAddresses waits until kube-ipvs0 has as many addresses as are given, and these.
func (d *demo) awaitAddresses(ctx context.Context, addresses ...string) error {
	return d.say.await(ctx, "the addresses of "+bindDevice, func() error {
		device, err := d.node.Netlink().LinkByName(bindDevice)
		if err != nil {
			return fmt.Errorf("find %s: %w", bindDevice, err)
		}
		bound, err := d.node.Netlink().AddrList(device, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list the addresses of %s: %w", bindDevice, err)
		}
		var got []string
		for _, address := range bound {
			got = append(got, address.IPNet.String())
		}
		if !slices.Equal(got, addresses) {
			return fmt.Errorf("%s has the addresses %v, want %v", bindDevice, got, addresses)
		}
		return nil
	})
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
	if err := evenly(tally.Backends, d.manifest.serving()); err != nil {
		return fmt.Errorf("requests from %s to %s: %w", from.Name, target.AddrPort, err)
	}
	return nil
}

// evenly is an error unless each of the pods, and nobody else, gave the same number of answers.
func evenly(answers map[string]int, pods []string) error {
	total := 0
	for _, n := range answers {
		total += n
	}
	want := map[string]int{}
	for _, pod := range pods {
		want[pod] = total / len(pods)
	}
	if total == 0 || !maps.Equal(answers, want) {
		return fmt.Errorf("the answers came %v, want %v", answers, want)
	}
	return nil
}
