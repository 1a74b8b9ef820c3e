package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/host"
	"kube-ipvs-proxy/internal/plan"
	"kube-ipvs-proxy/internal/service"
	"kube-ipvs-proxy/internal/translate"
)

// cleanup removes from the kernel what the configuration says, and prints it.
func cleanup(ctx context.Context, cfg config.Config, kernel *host.Host, out io.Writer) error {
	if cfg.Run.KeepRival {
		return cleanupBeside(ctx, cfg, kernel, out)
	}
	if err := refuseBeside(ctx, cfg.Serve); err != nil {
		return withStatus(statusRival, err)
	}
	return withStatus(statusKernel, cleanupAll(ctx, cfg, kernel, out))
}

// cleanupAll removes everything of the proxy's and nothing else. It goes on after a failure, so that as much as possible is
// gone in the end.
func cleanupAll(ctx context.Context, cfg config.Config, kernel *host.Host, out io.Writer) error {
	foundation := foundationOf(kernel.Families())
	// The parts have to be there to be read. What is made here for that is removed again below.
	if _, err := kernel.EnsureFoundation(ctx, foundation); err != nil {
		return fmt.Errorf("take stock of what is to be removed: %w", err)
	}
	snapshot, err := kernel.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("take stock of what is to be removed: %w", err)
	}
	planner := plan.New(plan.Options{Ours: settingsOf(cfg).Ours})
	planner.Adopt(snapshot.Objects)
	failed := carryOut(ctx, kernel, planner.Plan(plan.Request{Keys: planner.Keys(), Desired: nothing{}, Now: time.Time{}}), out)
	removed, err := kernel.RemoveFoundation(ctx, foundation)
	for _, line := range removed {
		fmt.Fprintln(out, line)
	}
	return errors.Join(failed, err)
}

// foundationOf describes the static part of the data plane, which has the same names whatever the options.
func foundationOf(families []dataplane.Family) kernel.Foundation {
	// Nothing is to change before it is removed.
	foundation := kernel.Foundation{Sets: translate.Sets(families), Takeover: kernel.Spare}
	for _, family := range families {
		foundation.Rulesets = append(foundation.Rulesets, translate.Rules(family, service.Options{}))
	}
	return foundation
}

// nothing is the desired state of a node without Services.
type nothing struct{}

func (nothing) Pool(dataplane.VirtualServerKey) (dataplane.Pool, bool) {
	return dataplane.Pool{}, false
}
func (nothing) Address(netip.Addr) bool                       { return false }
func (nothing) Entry(dataplane.Entry) (dataplane.Entry, bool) { return dataplane.Entry{}, false }
