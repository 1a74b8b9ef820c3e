package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/netfilter"
)

// Inspection is what a look at the kernel found that changed nothing.
type Inspection struct {
	// Faults are what is not as described of the device, the sets and the rules, in the order in which to put it right.
	Faults []dataplane.Fault
	// Objects are all virtual servers, the device's addresses and the sets' entries. What is missing has none.
	dataplane.Objects
	// InTheWay are names of sets under which there is something else.
	InTheWay []string
}

// Inspect reads what Snapshot reads, and compares device, sets and rules with what is wanted of them. It changes nothing,
// and needs no foundation. A read that fails is an error.
func (h *Host) Inspect(ctx context.Context, sets []dataplane.Set, tables []netfilter.Table) (Inspection, error) {
	device, deviceErr := h.link.Inspect(ctx)
	setsFound, setsErr := h.ipset.Inspect(ctx, sets)
	ruleFaults, rulesErr := h.rules.Inspect(ctx, tables)
	if err := errors.Join(deviceErr, setsErr, rulesErr); err != nil {
		return Inspection{}, fmt.Errorf("inspect the kernel: %w", err)
	}
	found := Inspection{Faults: slices.Concat(device, setsFound.Faults, ruleFaults), InTheWay: setsFound.InTheWay}
	var poolsErr, addressesErr, entriesErr error
	found.Pools, _, poolsErr = h.ipvs.Pools(ctx)
	found.Addresses, addressesErr = h.boundAddresses(ctx)
	found.Entries, entriesErr = h.ipset.Entries(ctx, setsFound.Readable)
	if err := errors.Join(poolsErr, addressesErr, entriesErr); err != nil {
		return Inspection{}, fmt.Errorf("inspect the kernel: %w", err)
	}
	return found, nil
}

// boundAddresses returns the device's addresses: none if it is not there, or is something else.
func (h *Host) boundAddresses(ctx context.Context) ([]netip.Addr, error) {
	addresses, err := h.link.Addresses(ctx)
	if errors.Is(err, dataplane.ErrNotExist) || errors.Is(err, dataplane.ErrConflict) {
		return nil, nil
	}
	return addresses, err
}

// Usage calls visit for each of the given virtual servers that is there, with what it has counted and its real servers,
// which are visit's until it returns. It may be called beside all other methods. On an error some may have been visited.
func (h *Host) Usage(ctx context.Context, keys []dataplane.VirtualServerKey, visit func(dataplane.VirtualServerKey, dataplane.Usage)) error {
	return h.ipvs.Usage(ctx, keys, visit)
}

// UsageOfFew is Usage for so few virtual servers that each is asked for by itself, whatever else there is.
func (h *Host) UsageOfFew(ctx context.Context, keys []dataplane.VirtualServerKey, visit func(dataplane.VirtualServerKey, dataplane.Usage)) error {
	return h.ipvs.UsageOfFew(ctx, keys, visit)
}

// Pools returns all virtual servers with their real servers, in the order in which the kernel lists both families together.
func (h *Host) Pools(ctx context.Context) ([]dataplane.Pool, error) {
	order, err := h.ipvs.Order(ctx)
	if err != nil {
		return nil, err
	}
	found, _, err := h.ipvs.Pools(ctx)
	if err != nil {
		return nil, err
	}
	place := make(map[dataplane.VirtualServerKey]int, len(order))
	for i, key := range order {
		place[key] = i + 1
	}
	slices.SortStableFunc(found, func(a, b dataplane.Pool) int { return place[a.Key] - place[b.Key] })
	return found, nil
}
