package app

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/netfilter"
)

// programs end as they are told to.
type programs map[string]error

func (programs) Find(name string) (string, error) { return "/sbin/" + name, nil }

func (p programs) Start(_ context.Context, command netfilter.Command) func() (string, error) {
	return func() (string, error) { return command.Path, p[command.Path] }
}

// Only what fails counts, and of that only what writes rules: each for its family, whatever the variant.
func TestFailedRestoresAreCounted(t *testing.T) {
	failure := errors.New("exit status 4")
	got := map[dataplane.Family]int{}
	w := watchedPrograms{programs{"/sbin/iptables-nft-restore": failure, "/sbin/ip6tables-restore": failure, "/sbin/iptables-save": failure,
		"/sbin/ip6tables-legacy-restore": context.Canceled}, func(f dataplane.Family) { got[f]++ }}
	for _, path := range []string{"/sbin/iptables-nft-restore", "/sbin/iptables-nft-restore", "/sbin/ip6tables-restore", "/sbin/iptables-save",
		"/sbin/ip6tables-legacy-restore", "/sbin/iptables-restore"} {
		out, err := w.Start(t.Context(), netfilter.Command{Path: path})()
		if want := w.Runner.(programs)[path]; out != path || !errors.Is(err, want) {
			t.Errorf("%s: %q, %v", path, out, err)
		}
	}
	if diff := cmp.Diff(map[dataplane.Family]int{dataplane.IPv4: 2, dataplane.IPv6: 1}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
