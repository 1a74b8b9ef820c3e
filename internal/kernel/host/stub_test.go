package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipset"
	"kube-ipvs-proxy/internal/kernel/ipvs"
)

// stub stands in for all drivers: it notes what it is asked, and fails where a test wants it to.
type stub struct {
	calls []string
	fail  map[string]error // by call
	rules []string         // comments of those last ensured
	// spared: there are rules of others; tables: there is the table of kube-proxy's mode nftables.
	spared, tables bool
}

func (s *stub) call(format string, a ...any) error {
	call := fmt.Sprintf(format, a...)
	s.calls = append(s.calls, call)
	return s.fail[call]
}

// stubbed returns a host on stubs only.
func stubbed() (*Host, *stub) {
	s := &stub{fail: map[string]error{}}
	return &Host{ipvs: stubIPVS{s}, link: stubLink{s}, ipset: stubSets{s}, rules: stubRules{s}, conntrack: stubFlows{s},
		nftables: stubTables{s}}, s
}

func (s *stub) apply(by string, ops []dataplane.Operation) []error {
	results := make([]error, len(ops))
	var lines []string
	for i, op := range ops {
		lines = append(lines, op.String())
		results[i] = s.fail[op.String()]
	}
	s.calls = append(s.calls, by+": "+strings.Join(lines, " | "))
	return results
}

type stubIPVS struct{ *stub }

func (s stubIPVS) Apply(_ context.Context, ops []dataplane.Operation) []error {
	return s.apply("ipvs", ops)
}
func (s stubIPVS) Pools(context.Context) ([]dataplane.Pool, map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error) {
	return nil, nil, s.call("pools")
}
func (s stubIPVS) Connections(context.Context, []dataplane.VirtualServerKey) (map[dataplane.VirtualServerKey]map[netip.AddrPort]uint32, error) {
	return nil, s.call("connections")
}
func (s stubIPVS) CheckScheduler(_ context.Context, name string) error {
	return s.call("scheduler %s", name)
}
func (s stubIPVS) SetTimeouts(context.Context, ipvs.Timeouts) error { return s.call("timeouts") }
func (s stubIPVS) Close() error                                     { return s.call("close ipvs") }

type stubLink struct{ *stub }

func (s stubLink) Apply(_ context.Context, ops []dataplane.Operation) []error {
	return s.apply("link", ops)
}
func (s stubLink) EnsureDevice(context.Context) ([]string, error) {
	return []string{"device"}, s.call("ensure device")
}
func (s stubLink) RemoveDevice(context.Context) ([]string, error) {
	return []string{"no device"}, s.call("remove device")
}
func (s stubLink) Addresses(context.Context) ([]netip.Addr, error) { return nil, s.call("addresses") }
func (s stubLink) NodeAddresses(context.Context) ([]dataplane.NodeAddress, error) {
	return nil, s.call("node addresses")
}
func (s stubLink) Subscribe(context.Context) (<-chan dataplane.Event, error) {
	return nil, s.call("subscribe")
}
func (s stubLink) Close() error { return s.call("close link") }

type stubSets struct{ *stub }

func (s stubSets) Apply(_ context.Context, ops []dataplane.Operation) []error {
	return s.apply("ipset", ops)
}

// Ensure fails for each set that has an error of its own, as the driver does.
func (s stubSets) Ensure(_ context.Context, sets []dataplane.Set) ([]string, error) {
	var errs []error
	for _, set := range sets {
		errs = append(errs, s.call("ensure set %s", set.Name))
	}
	return nil, errors.Join(errs...)
}
func (s stubSets) Replace(_ context.Context, set dataplane.Set) error {
	return s.call("replace set %s", set.Name)
}
func (s stubSets) Destroy(_ context.Context, name string) error {
	return s.call("destroy set %s", name)
}
func (s stubSets) Sweep(_ context.Context, names []string) error {
	return s.call("sweep sets %s", strings.Join(names, " "))
}
func (s stubSets) Entries(_ context.Context, names []string) ([]dataplane.Entry, error) {
	return nil, s.call("entries of %s", strings.Join(names, " "))
}
func (s stubSets) Close() error { return s.call("close ipset") }

type stubRules struct{ *stub }

func (s stubRules) Ensure(_ context.Context, rulesets []dataplane.Ruleset) ([]string, error) {
	s.rules = nil
	for _, ruleset := range rulesets {
		for _, rule := range ruleset.Chains[0].Rules {
			s.rules = append(s.rules, rule.Comment)
		}
	}
	return []string{"rules"}, s.call("ensure rules")
}
func (s stubRules) EnsureSparing(context.Context, []dataplane.Ruleset) ([]string, bool, error) {
	return nil, s.spared, s.call("spare rules")
}

func (s stubRules) Succeed(context.Context, []dataplane.Ruleset) ([]string, error) {
	return []string{"rules"}, s.call("succeed rules")
}

func (s stubRules) Retarget(_ context.Context, _ []dataplane.Ruleset, from, to string) ([]string, error) {
	return nil, s.call("retarget %s to %s", from, to)
}
func (s stubRules) Remove(context.Context, []dataplane.Ruleset) ([]string, error) {
	return []string{"no rules"}, s.call("remove rules")
}
func (s stubRules) Families() []dataplane.Family { return dataplane.Families() }
func (s stubRules) Available(family dataplane.Family) error {
	return s.call("available %s", family)
}
func (s stubRules) Executions() uint64 { return 0 }

type stubTables struct{ *stub }

func (s stubTables) Present(_ context.Context, family dataplane.Family) (bool, error) {
	return s.tables, s.call("nftables of %s", family)
}

func (s stubTables) Remove(_ context.Context, family dataplane.Family) error {
	return s.call("remove nftables of %s", family)
}

type stubFlows struct{ *stub }

func (s stubFlows) Delete(_ context.Context, flows []dataplane.Flows) []error {
	ops := make([]dataplane.Operation, len(flows))
	for i, f := range flows {
		ops[i] = dataplane.Operation{Verb: dataplane.Delete, Object: f}
	}
	return s.apply("conntrack", ops)
}
func (s stubFlows) Close() error { return s.call("close conntrack") }

func conflict(set string) error {
	return &ipset.ConflictError{Set: set, Found: "hash:ip", Wanted: "hash:net"}
}
