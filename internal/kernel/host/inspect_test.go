package host

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipset"
	"kube-ipvs-proxy/internal/kernel/netfilter"
)

func (s stubIPVS) Order(context.Context) ([]dataplane.VirtualServerKey, error) {
	return nil, s.call("order")
}

func (s stubIPVS) Usage(context.Context, []dataplane.VirtualServerKey, func(dataplane.VirtualServerKey, dataplane.Usage)) error {
	return s.call("usage")
}

func (s stubIPVS) UsageOfFew(context.Context, []dataplane.VirtualServerKey, func(dataplane.VirtualServerKey, dataplane.Usage)) error {
	return s.call("usage of few")
}

func (s stubLink) Inspect(context.Context) ([]dataplane.Fault, error) {
	return []dataplane.Fault{{What: "device"}}, s.call("inspect device")
}

func (s stubSets) Inspect(_ context.Context, sets []dataplane.Set) (ipset.Inspection, error) {
	return ipset.Inspection{Faults: []dataplane.Fault{{What: "set"}}, Readable: []string{sets[0].Name}}, s.call("inspect sets")
}

func (s stubRules) Inspect(context.Context, []netfilter.Table) ([]dataplane.Fault, error) {
	return []dataplane.Fault{{What: "rules"}}, s.call("inspect rules")
}

// A look at the kernel changes nothing, reads the sets that are there only, and takes no device for no addresses.
func TestInspectOnlyReads(t *testing.T) {
	h, s := stubbed()
	s.fail["addresses"] = dataplane.ErrNotExist
	found, err := h.Inspect(t.Context(), []dataplane.Set{{Name: "there"}, {Name: "missing"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var faults []string
	for _, fault := range found.Faults {
		faults = append(faults, fault.What)
	}
	if got := strings.Join(faults, " "); got != "device set rules" {
		t.Errorf("faults %q, want those of device, sets and rules in this order", got)
	}
	for _, call := range s.calls {
		if !strings.HasPrefix(call, "inspect ") && call != "pools" && call != "addresses" && call != "entries of there" {
			t.Errorf("it calls %q", call)
		}
	}
}

// A read that fails is an error, never an empty kernel.
func TestInspectFails(t *testing.T) {
	for _, call := range []string{"inspect device", "inspect sets", "inspect rules", "pools", "addresses", "entries of there"} {
		h, s := stubbed()
		failure := errors.New("no answer")
		s.fail[call] = failure
		found, err := h.Inspect(t.Context(), []dataplane.Set{{Name: "there"}}, nil)
		if !errors.Is(err, failure) || len(found.Faults) > 0 {
			t.Errorf("%s fails: %v, %v", call, found, err)
		}
		if !slices.Contains(s.calls, call) {
			t.Errorf("%s was not asked for", call)
		}
	}
}
