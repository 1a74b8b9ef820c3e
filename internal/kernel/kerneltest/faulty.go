package kerneltest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
)

// ErrInjected is in every error that a Faulty makes up by itself, next to ENOBUFS. It passes when tried again.
var ErrInjected = errors.New("injected fault")

// Fault is what happens to one operation instead of success.
type Fault struct {
	Err         error // nil: the operation is left alone
	TakesEffect bool  // the operation is carried out, and reported as failed nevertheless
}

// Faults says what goes wrong. Rates are probabilities from 0 to 1.
type Faults struct {
	Operations    float64 // rate at which operations fail
	TakesEffect   float64 // share of the failing operations that are carried out nevertheless
	Snapshot      float64
	Connections   float64
	NodeAddresses float64
	Foundation    float64
	// Decide, when set, is asked for each operation first; the rate applies to those it leaves alone.
	Decide func(dataplane.Operation) Fault
}

// Faulty wraps a kernel and makes calls fail. All methods may be called concurrently if the kernel's may.
type Faulty struct {
	kernel.Kernel
	mu       sync.Mutex
	random   *rand.Rand
	faults   Faults
	injected int
}

var _ kernel.Kernel = (*Faulty)(nil)

// NewFaulty wraps a kernel. The same seed and the same calls give the same faults.
func NewFaulty(inner kernel.Kernel, seed uint64, faults Faults) *Faulty {
	return &Faulty{Kernel: inner, random: rand.New(rand.NewPCG(seed, 0)), faults: faults}
}

// SetFaults replaces what goes wrong from now on; the zero Faults is a healthy kernel.
func (f *Faulty) SetFaults(faults Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

// Injected returns how many faults happened.
func (f *Faulty) Injected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.injected
}

// roll throws the dice for one call whose rate is picked out of the faults in force.
func (f *Faulty) roll(what string, rate func(Faults) float64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.random.Float64() >= rate(f.faults) {
		return nil
	}
	f.injected++
	return fmt.Errorf("%s: %w: %w", what, ErrInjected, syscall.ENOBUFS)
}

// decide returns what happens to one operation.
func (f *Faulty) decide(op dataplane.Operation) Fault {
	f.mu.Lock()
	faults := f.faults
	f.mu.Unlock()
	if faults.Decide != nil {
		if fault := faults.Decide(op); fault.Err != nil {
			f.mu.Lock()
			f.injected++
			f.mu.Unlock()
			return fault
		}
	}
	err := f.roll(op.String(), func(now Faults) float64 { return now.Operations })
	if err == nil {
		return Fault{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return Fault{Err: err, TakesEffect: f.random.Float64() < faults.TakesEffect}
}

// Apply implements kernel.Kernel: the operations that are to take effect reach the kernel in one batch, in order.
func (f *Faulty) Apply(ctx context.Context, ops []dataplane.Operation) []error {
	results := make([]error, len(ops))
	var passed []dataplane.Operation
	var at []int
	for i, op := range ops {
		fault := f.decide(op)
		results[i] = fault.Err
		if fault.Err == nil || fault.TakesEffect {
			passed, at = append(passed, op), append(at, i)
		}
	}
	if len(passed) == 0 {
		return results
	}
	for i, err := range f.Kernel.Apply(ctx, passed) {
		switch {
		case err == nil:
		case results[at[i]] == nil:
			results[at[i]] = err
		default:
			results[at[i]] = errors.Join(err, results[at[i]])
		}
	}
	return results
}

// EnsureFoundation implements kernel.Kernel.
func (f *Faulty) EnsureFoundation(ctx context.Context, foundation kernel.Foundation) ([]string, error) {
	if err := f.roll("ensure foundation", func(now Faults) float64 { return now.Foundation }); err != nil {
		return nil, err
	}
	return f.Kernel.EnsureFoundation(ctx, foundation)
}

// Snapshot implements kernel.Kernel.
func (f *Faulty) Snapshot(ctx context.Context) (*kernel.Snapshot, error) {
	if err := f.roll("snapshot", func(now Faults) float64 { return now.Snapshot }); err != nil {
		return nil, err
	}
	return f.Kernel.Snapshot(ctx)
}

// Connections implements kernel.Kernel.
func (f *Faulty) Connections(ctx context.Context, keys []dataplane.VirtualServerKey) (map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error) {
	if err := f.roll("connections", func(now Faults) float64 { return now.Connections }); err != nil {
		return nil, err
	}
	return f.Kernel.Connections(ctx, keys)
}

// NodeAddresses implements kernel.Kernel.
func (f *Faulty) NodeAddresses(ctx context.Context) ([]dataplane.NodeAddress, error) {
	if err := f.roll("node addresses", func(now Faults) float64 { return now.NodeAddresses }); err != nil {
		return nil, err
	}
	return f.Kernel.NodeAddresses(ctx)
}
