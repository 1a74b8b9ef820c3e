package reconcile_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
	"kube-ipvs-proxy/internal/translate"
)

// startByNodeCIDR starts a reconciler that needs the Node's podCIDRs.
func startByNodeCIDR(t *testing.T, fake *kerneltest.Fake) *fixture {
	o := options()
	o.Service.Masquerade.Local.NodeCIDRs = true
	return startWith(t, fake, fake, o)
}

func nodeWith(cidr string) service.Node {
	node := service.Node{Name: "node-1", Addresses: []netip.Addr{nodeAddress}}
	if cidr != "" {
		node.PodCIDRs = []netip.Prefix{netip.MustParsePrefix(cidr)}
	}
	return node
}

func rulesOf(fake *kerneltest.Fake) string {
	rules, _ := fake.Ruleset(dataplane.IPv4)
	return fmt.Sprint(rules)
}

// A restart under detectLocalMode NodeCIDR leaves the rules alone until it knows the Node: rules that do not name the
// pods' range would stop masquerading whom the right ones masquerade. That takes as long as the API server is away.
func TestNodeCIDRRestartKeepsRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cidr = "10.244.7.0/24"
		fake := newFake(t)
		masquerade := service.Masquerade{Local: service.Detector{CIDRs: []netip.Prefix{netip.MustParsePrefix(cidr)}}}
		_, err := fake.EnsureFoundation(t.Context(), kernel.Foundation{Sets: translate.Sets(dataplane.Families()),
			Rulesets: []dataplane.Ruleset{translate.Rules(dataplane.IPv4, service.Options{Masquerade: masquerade})}})
		must(t, err)
		before := rulesOf(fake)
		if !strings.Contains(before, cidr) {
			t.Fatalf("the rules do not name %s: %s", cidr, before)
		}
		f := startByNodeCIDR(t, fake)
		f.settle(time.Hour)
		if got := rulesOf(fake); got != before {
			t.Errorf("while the Node is not known the rules are %s, before %s", got, before)
		}
		f.source.SetNode(nodeWith(cidr))
		f.source.SetService(web("web", "10.96.0.1", 0))
		f.source.SetSlice(slice("web", "10.1.0.1"))
		f.complete()
		f.expectReals(dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.0.1"), 80), map[string]uint32{"10.1.0.1": 1})
		if got := rulesOf(fake); got != before {
			t.Errorf("after the restart the rules are %s, before %s", got, before)
		}
	})
}

// A Node that gets no podCIDRs is told of and waited for, but not for ever.
func TestNodeCIDRWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		f := startByNodeCIDR(t, fake)
		f.source.SetNode(nodeWith(""))
		f.complete()
		f.settle(4 * time.Minute)
		if rules, known := fake.Ruleset(dataplane.IPv4); known {
			t.Errorf("after 4 minutes without podCIDRs there are rules: %v", rules)
		}
		if err := f.observer.failure(reconcile.StepFoundation); err == nil || !strings.Contains(err.Error(), "no podCIDRs") {
			t.Errorf("the step reports %v, want it to say that there are no podCIDRs", err)
		}
		f.settle(2 * time.Minute)
		if _, known := fake.Ruleset(dataplane.IPv4); !known {
			t.Error("after 6 minutes there are no rules yet")
		}
		if err := f.observer.failure(reconcile.StepFoundation); err != nil {
			t.Errorf("the step goes on reporting %v", err)
		}
	})
}

// failure is what a step last ended in.
func (r *recorder) failure(step reconcile.Step) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failing[step]
}
