package kerneltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

func addressOps(n int) []dataplane.Operation {
	var ops []dataplane.Operation
	for i := range n {
		ops = append(ops, dataplane.Operation{Verb: dataplane.Add, Object: address(fmt.Sprintf("10.0.%d.%d", i/256, i%256))})
	}
	return ops
}

func failed(results []error) []int {
	var at []int
	for i, err := range results {
		if err != nil {
			at = append(at, i)
		}
	}
	return at
}

func TestFaultyRate(t *testing.T) {
	fake := founded(t)
	faulty := NewFaulty(fake, 7, Faults{Operations: 0.3, TakesEffect: 0.5})
	results := faulty.Apply(context.Background(), addressOps(1000))
	failures, there := len(failed(results)), len(fake.Objects().Addresses)
	if failures < 200 || failures > 400 || faulty.Injected() != failures {
		t.Errorf("%d of 1000 failed, %d injected", failures, faulty.Injected())
	}
	if there <= 1000-failures || there >= 1000 {
		t.Errorf("%d addresses there with %d failures: some failing operations should take effect, not all", there, failures)
	}
	if err := results[failed(results)[0]]; !errors.Is(err, ErrInjected) || !errors.Is(err, syscall.ENOBUFS) {
		t.Errorf("error %v", err)
	}
	again := NewFaulty(founded(t), 7, Faults{Operations: 0.3, TakesEffect: 0.5}).Apply(context.Background(), addressOps(1000))
	if !slices.Equal(failed(again), failed(results)) {
		t.Error("the same seed gave other faults")
	}
	faulty.SetFaults(Faults{})
	if at := failed(faulty.Apply(context.Background(), addressOps(1000))); at != nil {
		t.Errorf("operations %v fail in a healthy kernel", at)
	}
}

func TestFaultyDecides(t *testing.T) {
	fake := founded(t)
	faulty := NewFaulty(fake, 1, Faults{Decide: func(op dataplane.Operation) Fault {
		switch op.Object {
		case address("10.0.0.1"):
			return Fault{Err: dataplane.ErrPermission}
		case address("10.0.0.2"):
			return Fault{Err: dataplane.ErrInvalid, TakesEffect: true}
		}
		return Fault{}
	}})
	results := faulty.Apply(context.Background(), addressOps(4))
	if !errors.Is(results[1], dataplane.ErrPermission) || !errors.Is(results[2], dataplane.ErrInvalid) || len(failed(results)) != 2 {
		t.Errorf("results %v", results)
	}
	if got := fake.Dump(); got != "10.0.0.0/32 dev kube-ipvs0\n10.0.0.2/32 dev kube-ipvs0\n10.0.0.3/32 dev kube-ipvs0\n" {
		t.Errorf("10.0.0.1 fails, 10.0.0.2 takes effect; the kernel has\n%s", got)
	}
}

func TestFaultyReads(t *testing.T) {
	ctx := context.Background()
	faulty := NewFaulty(founded(t), 1, Faults{Snapshot: 1, NodeAddresses: 1, Foundation: 1, Connections: 1})
	snapshot, one := faulty.Snapshot(ctx)
	_, two := faulty.NodeAddresses(ctx)
	_, three := faulty.EnsureFoundation(ctx, testFoundation())
	_, four := faulty.Connections(ctx, nil)
	for _, err := range []error{one, two, three, four} {
		if !errors.Is(err, ErrInjected) {
			t.Errorf("got %v", err)
		}
	}
	if snapshot != nil {
		t.Error("a failed snapshot has content")
	}
}
