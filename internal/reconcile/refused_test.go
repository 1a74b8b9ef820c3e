package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/health"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/metrics"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// refusal is how a kernel does not carry an operation out, in the words of the drivers.
type refusal struct {
	name        string
	err         error
	takesEffect bool // the kernel has carried it out nevertheless
}

// refusals are what the kernel may answer in the middle of a batch, and a lost answer. That something is not there is no
// answer of the drivers to a deletion.
func refusals(verb dataplane.Verb) []refusal {
	var all []refusal
	for _, errno := range []syscall.Errno{syscall.ENOMEM, syscall.ENOSPC, syscall.EEXIST, syscall.ENOENT, syscall.ESRCH,
		syscall.EINTR, syscall.EBUSY, syscall.ENOBUFS} {
		err := error(errno)
		if verb != dataplane.Delete && (errno == syscall.ENOENT || errno == syscall.ESRCH) {
			err = fmt.Errorf("%w (%w)", dataplane.ErrNotExist, errno)
		}
		all = append(all, refusal{errno.Error(), err, false})
	}
	lost := fmt.Errorf("%w (%w)", dataplane.ErrUnknown, syscall.ENOBUFS)
	return append(all, refusal{"a full set", fmt.Errorf("%w (%w)", dataplane.ErrSetFull, syscall.ENOSPC), false},
		refusal{"lost on the way there", lost, false}, refusal{"lost on the way back", lost, true})
}

// batch is a reconciler that is about to bring one batch with operations of every kind to the kernel.
type batch struct {
	*fixture
	faulty   *kerneltest.Faulty
	registry *prometheus.Registry
	health   *health.State
}

// newBatch starts one on Services that are there already.
func newBatch(t *testing.T) *batch {
	b := &batch{fixture: &fixture{T: t, kernel: newFake(t), observer: &recorder{}}, registry: prometheus.NewRegistry()}
	b.faulty = kerneltest.NewFaulty(b.kernel, 1, kerneltest.Faults{})
	o := options()
	o.MinPeriod = 10 * time.Millisecond // which gathers what is changed at once
	b.health = health.NewState(clock.RealClock{}, time.Second, o.Families)
	b.fixture = startObserved(b.fixture, b.faulty, o, reconcile.Observers{b.observer, b.health,
		metrics.New(b.registry, clock.RealClock{}, o.Families)})
	b.source.SetService(web("web", "10.96.0.1", 0))
	b.source.SetSlice(slice("web", "10.1.0.1", "10.1.0.2"))
	b.source.SetService(web("old", "10.96.0.2", 0))
	b.source.SetSlice(slice("old", "10.1.0.1"))
	b.datagrams("10.1.0.1", "10.1.0.2")
	b.complete()
	b.settle(time.Second)
	must(t, b.kernel.SetConnections(webKey, netip.MustParseAddrPort("10.1.0.2:8080"), 1)) // it will drain and stay
	return b
}

// datagrams is a Service with UDP and so many endpoints.
func (b *batch) datagrams(endpoints ...string) {
	svc, s := web("dns", "10.96.0.3", 30053), slice("dns", endpoints...)
	svc.Ports[0].Protocol, s.Ports[0].Protocol = dataplane.UDP, dataplane.UDP
	b.source.SetService(svc)
	b.source.SetSlice(s)
}

// change makes everything want something else, at once, and returns the round that began with it.
func (b *batch) change() reconcile.Round {
	before := len(b.rounds())
	sticky := web("web", "10.96.0.1", 0)
	sticky.Policy.AffinityTimeout = time.Hour
	b.source.SetService(sticky)
	b.source.SetSlice(slice("web", "10.1.0.1", "10.1.0.3"))
	b.source.DeleteService(service.Name{Namespace: "default", Name: "old"})
	b.source.SetService(web("new", "10.96.0.4", 0))
	b.source.SetSlice(slice("new", "10.1.0.4"))
	b.datagrams("10.1.0.1")
	b.settle(10 * time.Millisecond)
	b.settle(0)
	rounds := b.rounds()[before:]
	if len(rounds) == 0 {
		b.Fatal("there was no round")
	}
	return rounds[0]
}

// startObserved runs a reconciler with one source on the kernel.
func startObserved(f *fixture, k *kerneltest.Faulty, o reconcile.Options, observer reconcile.Observer) *fixture {
	r := reconcile.New(k, o, observer)
	f.source = r.Source("api", "services", "slices")
	ctx, cancel := context.WithCancel(f.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	f.Cleanup(func() { cancel(); <-done })
	return f
}

// metric returns the sum of a metric.
func (b *batch) metric(name string) (sum float64) {
	families, err := b.registry.Gather()
	must(b.T, err)
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// healthyBatch returns the operations of the batch on a kernel that refuses none, and the state in which it ends.
func healthyBatch(t *testing.T) (operations []dataplane.Operation, end string) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatch(t)
		operations = b.change().Operations
		b.settle(time.Minute)
		end = b.kernel.Dump()
	})
	kinds := map[kerneltest.OperationKind]bool{}
	for _, op := range operations {
		kinds[kerneltest.KindOf(op)] = true
	}
	for _, kind := range []string{"virtual server", "real server", "address", "entry"} {
		for _, verb := range []dataplane.Verb{dataplane.Add, dataplane.Delete} {
			if !kinds[kerneltest.OperationKind{Verb: verb, Kind: kind}] {
				t.Errorf("the batch lacks %s of %s: %v", verb, kind, operations)
			}
		}
	}
	for _, kind := range []string{"virtual server", "real server"} {
		if !kinds[kerneltest.OperationKind{Verb: dataplane.Edit, Kind: kind}] {
			t.Errorf("the batch lacks an edit of %s: %v", kind, operations)
		}
	}
	return operations, end
}

// A kernel that refuses any one operation of a batch, whatever it says and however often: the rest lands, it is tried
// again with a backoff, told as long as it lasts, and the end is the same.
func TestRefusedInTheMiddleOfABatch(t *testing.T) {
	operations, end := healthyBatch(t)
	for i, op := range operations {
		for _, refusal := range refusals(op.Verb) {
			for _, times := range []int{1, 4} {
				name := fmt.Sprintf("%d %s/%s/%d times", i, op, refusal.name, times)
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { refuse(t, op, refusal, times, end) })
				})
			}
		}
	}
}

func refuse(t *testing.T, bad dataplane.Operation, refusal refusal, times int, end string) {
	b := newBatch(t)
	var tries []time.Time
	b.faulty.SetFaults(kerneltest.Faults{Decide: func(op dataplane.Operation) kerneltest.Fault {
		if op.String() != bad.String() {
			return kerneltest.Fault{}
		}
		if tries = append(tries, time.Now()); len(tries) > times {
			return kerneltest.Fault{}
		}
		return kerneltest.Fault{Err: refusal.err, TakesEffect: refusal.takesEffect}
	}})
	first := b.change()
	_, address := bad.Object.(dataplane.Address)
	told := !address || bad.Verb != dataplane.Add || !errors.Is(refusal.err, dataplane.ErrNotExist)
	if told { // else it is the device that is missed, which is looked after; the address follows
		b.expectOnly(first, bad, refusal.err)
	}
	if !b.health.Healthy() {
		t.Error("one operation makes the whole proxy unhealthy")
	}
	b.settle(3 * time.Minute) // longer than the backoffs, and than the audits that find out what is no truth
	if diff := cmp.Diff(end, b.kernel.Dump()); diff != "" {
		t.Errorf("in the end (-without refusals +with):\n%s", diff)
	}
	if failures := b.metric("kube_ipvs_proxy_operation_failures_total"); told && failures < 1 || b.metric("kube_ipvs_proxy_waiting_objects") != 0 {
		t.Errorf("%v failures counted, %v objects still wait", failures, b.metric("kube_ipvs_proxy_waiting_objects"))
	}
	if waiting := b.observer.last().Waiting; waiting != 0 || !b.health.Healthy() {
		t.Errorf("%d objects still wait, healthy %v", waiting, b.health.Healthy())
	}
	if refusal.takesEffect || errors.Is(refusal.err, dataplane.ErrNotExist) {
		return // there is nothing to try again, or another way to the same end
	}
	if errors.Is(refusal.err, dataplane.ErrUnknown) { // what is read of the kernel meanwhile may lead to tries in between
		if took := tries[len(tries)-1].Sub(tries[0]); len(tries) != times+1 || took < 50*time.Millisecond<<(times-1) {
			t.Errorf("%d tries in %v", len(tries), took)
		}
		return
	}
	expectBackoff(t, tries, times)
}

// expectOnly checks that of the first round nothing failed but the operation and what needs its object, and that it is
// told.
func (b *batch) expectOnly(round reconcile.Round, bad dataplane.Operation, err error) {
	b.Helper()
	failed := slices.IndexFunc(round.Failures, func(f reconcile.Failure) bool { return f.Operation == bad })
	if failed < 0 || !errors.Is(round.Failures[failed], err) || !strings.Contains(round.Failures[failed].Error(), bad.String()) {
		b.Fatalf("the failures are %v", round.Failures)
	}
	concerned := dataplane.NewKeys()
	concerned.AddOf(bad.Object)
	for _, failure := range round.Failures {
		keys := dataplane.NewKeys()
		keys.AddOf(failure.Operation.Object)
		keys.Merge(concerned)
		if keys.Len() > 1 {
			b.Errorf("another object's operation failed, too: %v", failure)
		}
	}
	log := b.kernel.Log()
	for _, op := range round.Operations {
		landed := slices.Contains(log, op.String())
		if refused := slices.ContainsFunc(round.Failures, func(f reconcile.Failure) bool { return f.Operation == op }); !refused && !landed {
			b.Errorf("%s did not land", op)
		}
	}
	if waiting := b.metric("kube_ipvs_proxy_waiting_objects"); waiting != 1 || round.Waiting != 1 {
		b.Errorf("%v objects are said to wait, %d by the round, want one", waiting, round.Waiting)
	}
}

// expectBackoff checks that the tries came at doubled distances, and that none came after one that succeeded.
func expectBackoff(t *testing.T, tries []time.Time, failing int) {
	t.Helper()
	if len(tries) != failing+1 {
		t.Fatalf("%d tries, want one after %d that fail", len(tries), failing)
	}
	least := 50 * time.Millisecond
	for i := 1; i < len(tries); i++ {
		if distance := tries[i].Sub(tries[i-1]); distance < least || distance > least+20*time.Millisecond {
			t.Errorf("try %d came %v after the one before, want %v", i, distance, least)
		}
		least *= 2
	}
}

// What is deleted behind the proxy's back between a plan and its execution comes back, too.
func TestGoneBetweenPlanAndApply(t *testing.T) {
	operations, end := healthyBatch(t)
	for i, trigger := range operations {
		for what, harm := range map[string]func(f *kerneltest.Fake) error{
			"the edited virtual server":  deletes(dataplane.VirtualServer{Key: webKey}),
			"the served datagrams":       deletes(dataplane.VirtualServer{Key: dataplane.KeyOf(dataplane.UDP, netip.MustParseAddr("10.96.0.3"), 80)}),
			"the new virtual server":     deletes(dataplane.VirtualServer{Key: dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.0.4"), 80)}),
			"the virtual server to go":   deletes(dataplane.VirtualServer{Key: dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.0.2"), 80)}),
			"the real server that stays": deletes(dataplane.Member{VirtualServer: webKey, RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort("10.1.0.1:8080")}}),
			"the real server to drain":   deletes(dataplane.Member{VirtualServer: webKey, RealServer: dataplane.RealServer{Addr: netip.MustParseAddrPort("10.1.0.2:8080")}}),
			"the device":                 (*kerneltest.Fake).DropDevice,
		} {
			t.Run(fmt.Sprintf("%d %s/%s", i, trigger, what), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBatch(t)
					harmed := false
					b.faulty.SetFaults(kerneltest.Faults{Decide: func(op dataplane.Operation) kerneltest.Fault {
						if !harmed && op == trigger {
							harmed = true
							must(t, harm(b.kernel))
						}
						return kerneltest.Fault{}
					}})
					b.change()
					b.settle(time.Minute)
					want := end
					if strings.Contains(what, "drain") || strings.Contains(what, "edited") {
						want = withoutDraining(end) // its connections went with it
					}
					if diff := cmp.Diff(want, withoutDraining(b.kernel.Dump())); diff != "" && b.kernel.Dump() != want || !harmed {
						t.Errorf("harmed %v, in the end (-wanted +got):\n%s", harmed, diff)
					}
				})
			})
		}
	}
}

// deletes returns what deletes an object by hand.
func deletes(object dataplane.Object) func(*kerneltest.Fake) error {
	return func(f *kerneltest.Fake) error {
		return f.ByHand(dataplane.Operation{Verb: dataplane.Delete, Object: object})
	}
}

// withoutDraining leaves the real servers of weight 0 out of a dump.
func withoutDraining(dump string) string {
	lines := slices.DeleteFunc(strings.SplitAfter(dump, "\n"), func(line string) bool { return strings.HasSuffix(line, " -w 0\n") })
	return strings.Join(lines, "")
}
