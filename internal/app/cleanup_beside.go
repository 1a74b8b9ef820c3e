package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/host"
	"kube-ipvs-proxy/internal/plan"
	"kube-ipvs-proxy/internal/translate"
)

// errStill: something was kept for what still needs it.
var errStill = errors.New("not all could be removed yet: run this again later")

// refuseBeside returns an error if kube-proxy runs on this node: most of what there is to remove is what it serves with now.
func refuseBeside(ctx context.Context, serve config.Serve) error {
	for _, address := range rivalAddresses(serve.Metrics) {
		if mode := proxyMode(ctx, address); mode != "" {
			return fmt.Errorf("kube-proxy runs on this node (http://%s/proxyMode says %s), and a clean-up would cut its Services off: "+
				"to remove only what it knows nothing of, add --keep-kube-proxy; to remove all, stop it first", address, mode)
		}
	}
	return nil
}

// cleanupBeside removes what kube-proxy's mode ipvs knows nothing of, and would leave behind, and nothing that it serves
// with: for a node that went back to it. Rules come first, so that no new connection gets a packet mark; virtual servers of
// such marks stay while connections go on through them.
func cleanupBeside(ctx context.Context, cfg config.Config, kernel *host.Host, out io.Writer) error {
	removed, err := kernel.RemoveBeside(ctx, besideOf(kernel.Families()))
	for _, line := range removed {
		fmt.Fprintln(out, line)
	}
	return errors.Join(withStatus(statusKernel, err), removeMarked(ctx, cfg, kernel, out))
}

// besideOf describes those static parts of the data plane that kube-proxy lacks.
func besideOf(families []dataplane.Family) kernel.Foundation {
	whole := foundationOf(families)
	var part kernel.Foundation
	part.Sets, part.Rulesets = translate.Beside(whole.Sets, whole.Rulesets)
	return part
}

// removeMarked removes the proxy's virtual servers with a packet mark that have no connections.
func removeMarked(ctx context.Context, cfg config.Config, kernel *host.Host, out io.Writer) error {
	found, err := kernel.Marked(ctx)
	if err != nil {
		return err
	}
	planner := plan.New(plan.Options{Ours: settingsOf(cfg).Ours})
	planner.Adopt(dataplane.Objects{Pools: found})
	keys := planner.Keys()
	var marked []dataplane.VirtualServerKey
	for key := range keys.VirtualServers {
		marked = append(marked, key)
	}
	connections, err := kernel.Connections(ctx, marked)
	if err != nil {
		return fmt.Errorf("count the connections of virtual servers: %w", err)
	}
	var failures []error
	for key, servers := range connections {
		total := uint32(0)
		for _, count := range servers {
			total += count
		}
		if total > 0 {
			delete(keys.VirtualServers, key)
			failures = append(failures, fmt.Errorf("%s is kept for %d connections: %w", key, total, errStill))
		}
	}
	return errors.Join(append(failures, carryOut(ctx, kernel, planner.Plan(plan.Request{Keys: keys, Desired: nothing{}, Now: time.Time{}}), out))...)
}

// carryOut has operations carried out and prints those that were.
func carryOut(ctx context.Context, kernel *host.Host, operations []dataplane.Operation, out io.Writer) error {
	var failures []error
	for i, err := range kernel.Apply(ctx, operations) {
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", operations[i], err))
			continue
		}
		fmt.Fprintln(out, operations[i])
	}
	return errors.Join(failures...)
}
