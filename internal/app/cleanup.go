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

// cleanup removes everything of the proxy's from the kernel and nothing else, and prints what it removed. It goes on
// after a failure, so that as much as possible is gone in the end.
func cleanup(ctx context.Context, cfg config.Config, kernel *host.Host, out io.Writer) error {
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
	operations := planner.Plan(plan.Request{Keys: planner.Keys(), Desired: nothing{}, Now: time.Time{}})
	var failures []error
	for i, err := range kernel.Apply(ctx, operations) {
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", operations[i], err))
			continue
		}
		fmt.Fprintln(out, operations[i])
	}
	removed, err := kernel.RemoveFoundation(ctx, foundation)
	for _, line := range removed {
		fmt.Fprintln(out, line)
	}
	return errors.Join(append(failures, err)...)
}

// foundationOf describes the static part of the data plane, which has the same names whatever the options.
func foundationOf(families []dataplane.Family) kernel.Foundation {
	foundation := kernel.Foundation{Sets: translate.Sets(families)}
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
