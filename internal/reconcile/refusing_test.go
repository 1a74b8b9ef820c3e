package reconcile_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
)

// A kernel that refuses everything for a while, or whose answers are all lost: it is asked ever less often, and read as
// seldom; what it holds at first stays; and soon after it is well again it holds what is wanted.
func TestRefusingKernelIsNotPressed(t *testing.T) {
	_, end := healthyBatch(t)
	for _, refusal := range refusals(dataplane.Delete) {
		t.Run(refusal.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBatch(t)
				before, asked := b.kernel.Dump(), 0
				b.faulty.SetFaults(kerneltest.Faults{Decide: func(dataplane.Operation) kerneltest.Fault {
					asked++
					return kerneltest.Fault{Err: refusal.err, TakesEffect: refusal.takesEffect}
				}})
				b.kernel.ResetRecord()
				operations := len(b.change().Operations)
				b.settle(25 * time.Second) // the audit comes later
				// From 50 ms on, doubled: nine tries in 25 seconds, and one more after each look at a kernel that lost answers.
				if most := 20 * operations; asked > most || b.kernel.Counts().Snapshots > 10 {
					t.Errorf("%d operations were tried %d times, and the kernel was read %d times", operations, asked, b.kernel.Counts().Snapshots)
				}
				if !refusal.takesEffect && b.kernel.Dump() != before {
					t.Errorf("what was there was changed (-before +now):\n%s", cmp.Diff(before, b.kernel.Dump()))
				}
				if b.metric("kube_ipvs_proxy_waiting_objects") == 0 && !refusal.takesEffect || !b.health.Healthy() {
					t.Errorf("%v objects wait, healthy %v", b.metric("kube_ipvs_proxy_waiting_objects"), b.health.Healthy())
				}
				b.faulty.SetFaults(kerneltest.Faults{})
				b.settle(time.Minute)
				if diff := cmp.Diff(end, b.kernel.Dump()); diff != "" || b.metric("kube_ipvs_proxy_waiting_objects") != 0 {
					t.Errorf("%v objects wait in the end (-without refusals +with):\n%s", b.metric("kube_ipvs_proxy_waiting_objects"), diff)
				}
			})
		})
	}
}

// Addresses that find no device although it is said to be there: it is looked after once, and then they wait like all that fails.
func TestAddressesThatFindNoDeviceAreNotPressed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatch(t)
		asked := 0
		b.faulty.SetFaults(kerneltest.Faults{Decide: func(op dataplane.Operation) kerneltest.Fault {
			if _, address := op.Object.(dataplane.Address); !address || op.Verb != dataplane.Add || asked > 1000 { // more, and time stood still
				return kerneltest.Fault{}
			}
			asked++
			return kerneltest.Fault{Err: dataplane.ErrNotExist}
		}})
		b.change()
		b.settle(25 * time.Second)
		const addresses = 3 // those of before are taken to be lost with the device
		if asked < 2*addresses || asked > 10*addresses {
			t.Errorf("tried %d times in 25 seconds", asked)
		}
		if waiting := b.metric("kube_ipvs_proxy_waiting_objects"); waiting != addresses {
			t.Errorf("%v objects wait, want the addresses", waiting)
		}
		b.faulty.SetFaults(kerneltest.Faults{})
		b.settle(time.Minute)
		if !b.bound("10.96.0.4") || b.metric("kube_ipvs_proxy_waiting_objects") != 0 {
			t.Errorf("in the end:\n%s", b.kernel.Dump())
		}
	})
}
