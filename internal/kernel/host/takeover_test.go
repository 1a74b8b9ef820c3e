package host

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
)

// B51: rules of others are left until they are to be succeeded, and the table of kube-proxy's mode nftables goes after
// ours are in place; as long as these cannot be had, it stays.
func TestB51TakeoverOfRules(t *testing.T) {
	for _, c := range []struct {
		name   string
		how    kernel.Takeover
		tables bool
		fail   string
		calls  []string
		spared bool
		lines  []string
	}{
		{name: "spare", how: kernel.Spare, calls: []string{"spare rules", "nftables of IPv4"}},
		{name: "spare nftables", how: kernel.Spare, tables: true, calls: []string{"spare rules", "nftables of IPv4"}, spared: true},
		{name: "spare what cannot be seen", how: kernel.Spare, fail: "nftables of IPv4", calls: []string{"spare rules", "nftables of IPv4"}, spared: true},
		{name: "succeed", how: kernel.Succeed, calls: []string{"succeed rules", "nftables of IPv4"}, lines: []string{"rules"}},
		{name: "succeed nftables", how: kernel.Succeed, tables: true, calls: []string{"succeed rules", "nftables of IPv4", "remove nftables of IPv4"},
			lines: []string{"rules", "IPv4: table of kube-proxy's mode nftables removed"}},
		{name: "not without ours", how: kernel.Succeed, tables: true, fail: "succeed rules", calls: []string{"succeed rules"}, lines: []string{"rules"}},
		{name: "refused", how: kernel.Succeed, tables: true, fail: "remove nftables of IPv4",
			calls: []string{"succeed rules", "nftables of IPv4", "remove nftables of IPv4"}, lines: []string{"rules"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, s := stubbed()
			s.tables, s.fail[c.fail] = c.tables, dataplane.ErrPermission
			lines, err := h.install(t.Context(), []dataplane.Ruleset{{Family: dataplane.IPv4}}, c.how)
			if failing := c.how == kernel.Succeed && c.fail != ""; failing != errors.Is(err, dataplane.ErrPermission) {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(c.calls, s.calls) + cmp.Diff(c.lines, lines); diff != "" || h.Spared() != c.spared {
				t.Errorf("spared %v; -want +got:\n%s", h.Spared(), diff)
			}
		})
	}
}
