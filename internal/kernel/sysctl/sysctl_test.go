package sysctl

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
)

const hashsize = "module/nf_conntrack/parameters/hashsize"

// right are the values of a node on which nothing is left to do for full().
func right() map[string]int {
	return map[string]int{
		"net/ipv4/vs/conntrack": 1, "net/ipv4/vs/expire_nodest_conn": 1, "net/ipv4/vs/expire_quiescent_template": 1,
		"net/ipv4/vs/conn_reuse_mode": 1, "net/ipv4/ip_forward": 1, "net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2,
		"net/ipv6/conf/all/forwarding": 1, "net/bridge/bridge-nf-call-iptables": 1, "net/bridge/bridge-nf-call-ip6tables": 1,
		"net/netfilter/nf_conntrack_max": 131072, "net/netfilter/nf_conntrack_tcp_be_liberal": 1,
		"net/netfilter/nf_conntrack_tcp_timeout_established": 86400, "net/netfilter/nf_conntrack_tcp_timeout_close_wait": 3600,
		"net/netfilter/nf_conntrack_udp_timeout": 250, "net/netfilter/nf_conntrack_udp_timeout_stream": 300,
	}
}

// full uses every setting.
func full() Settings {
	return Settings{Families: dataplane.Families(), StrictARP: true, Conntrack: Conntrack{
		MaxPerCore: 32768, Min: 131072, TCPBeLiberal: true, TCPEstablishedTimeout: 24 * time.Hour, TCPCloseWaitTimeout: time.Hour,
		UDPTimeout: 250 * time.Second, UDPStreamTimeout: 300 * time.Second,
	}}
}

// newSystem lays out a node of two CPUs with the right values, except those given.
func newSystem(t *testing.T, release string, wrong map[string]int) System {
	t.Helper()
	s := System{ProcSys: t.TempDir(), Sys: t.TempDir(), Release: release, CPUs: 2}
	values := right()
	maps.Copy(values, wrong)
	for name, value := range values {
		put(t, filepath.Join(s.ProcSys, name), value)
	}
	put(t, filepath.Join(s.Sys, hashsize), 65536)
	return s
}

func put(t *testing.T, path string, value int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(value)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) int {
	t.Helper()
	value, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// apply wants success and returns what was changed and warned of.
func apply(t *testing.T, s System, settings Settings) (changed, warnings []string) {
	t.Helper()
	changed, warnings, err := s.Apply(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	return changed, warnings
}

func TestRightValuesAreNotWritten(t *testing.T) {
	s := newSystem(t, "6.12.0", nil)
	old := time.Unix(1, 0)
	for name := range right() {
		if err := os.Chtimes(filepath.Join(s.ProcSys, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if changed, warnings := apply(t, s, full()); len(changed)+len(warnings) > 0 {
		t.Errorf("changed %q, warnings %q; want nothing", changed, warnings)
	}
	for name := range right() {
		info, err := os.Stat(filepath.Join(s.ProcSys, name))
		if err != nil || !info.ModTime().Equal(old) {
			t.Errorf("%s was written: %v, %v", name, info.ModTime(), err)
		}
	}
}

func TestWrongValuesAreSet(t *testing.T) {
	wrong := map[string]int{}
	for name, value := range right() {
		if !strings.Contains(name, "bridge") && !strings.Contains(name, "ipv6") && !strings.Contains(name, "reuse") {
			wrong[name] = value + 7
		}
	}
	wrong["net/netfilter/nf_conntrack_max"] = 65536
	s := newSystem(t, "6.12.0", wrong)
	changed, warnings := apply(t, s, full())
	if len(changed) != len(wrong) || len(warnings) > 0 {
		t.Errorf("changed %q, warnings %q; want %d changes", changed, warnings, len(wrong))
	}
	if !slices.Contains(changed, "net/ipv4/conf/all/arp_announce: 2, was 9") {
		t.Errorf("changed %q does not say from what to what", changed)
	}
	for name, want := range right() {
		if got := get(t, filepath.Join(s.ProcSys, name)); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
}

func TestWhatIsNotAskedForIsLeft(t *testing.T) {
	wrong := map[string]int{"net/ipv4/conf/all/arp_ignore": 0, "net/ipv4/conf/all/arp_announce": 0, "net/netfilter/nf_conntrack_max": 5,
		"net/netfilter/nf_conntrack_tcp_be_liberal": 0, "net/netfilter/nf_conntrack_udp_timeout": 30, "net/ipv6/conf/all/forwarding": 0}
	s := newSystem(t, "6.12.0", wrong)
	settings := Settings{Families: []dataplane.Family{dataplane.IPv4}, Conntrack: Conntrack{Min: 131072, UDPTimeout: time.Millisecond}}
	if changed, warnings := apply(t, s, settings); len(changed)+len(warnings) > 0 {
		t.Errorf("changed %q, warnings %q", changed, warnings)
	}
}

func TestP13AffinityLetsGoOfDrainedServers(t *testing.T) {
	s := newSystem(t, "6.12.0", map[string]int{"net/ipv4/vs/expire_quiescent_template": 0})
	changed, _ := apply(t, s, full())
	if diff := cmp.Diff([]string{"net/ipv4/vs/expire_quiescent_template: 1, was 0"}, changed); diff != "" {
		t.Error(diff)
	}
}

func TestP07ReuseModeGoesByKernel(t *testing.T) {
	for release, want := range map[string]int{
		"3.10.0-1160.el7.x86_64": 1, "4.0.9": 1, "4.1.0": 0, "4.19.0-25-amd64": 0, "5.4.0-150-generic": 0, "5.8.18": 0,
		"5.9.0": 1, "5.10.0-28-cloud-amd64": 1, "6.1-rc3": 1, "6.18.44-fc-v595": 1, "10.0": 1,
	} {
		s := newSystem(t, release, nil)
		apply(t, s, full())
		if got := get(t, filepath.Join(s.ProcSys, reuseMode)); got != want {
			t.Errorf("kernel %s: %s = %d, want %d", release, reuseMode, got, want)
		}
	}
	s := newSystem(t, "5.15.0", map[string]int{reuseMode: 0})
	if _, warnings := apply(t, s, full()); len(warnings) != 1 || !strings.Contains(warnings[0], reuseMode) {
		t.Errorf("warnings %q, want one of mode 0 on a kernel that does not need it", warnings)
	}
	for _, release := range []string{"linux", "6", ".1", "x.y", "6.", "-1.2"} {
		s := newSystem(t, release, nil)
		if _, warnings := apply(t, s, full()); len(warnings) != 1 || !strings.Contains(warnings[0], strconv.Quote(release)) {
			t.Errorf("kernel %q: warnings %q, want one that it is not understood", release, warnings)
		}
	}
}

func TestConntrackMax(t *testing.T) {
	for _, tt := range []struct {
		perCore, min, cpus, want int
	}{
		{32768, 131072, 2, 131072}, {32768, 131072, 4, 131072}, {32768, 131072, 8, 262144}, {32768, 131072, 32, 1048576},
		{32768, 131072, 128, 1048576}, {0, 131072, 8, 0}, {32768, 0, 1, 32768}, {1, 2000000, 1, 2000000},
	} {
		if got := (Conntrack{MaxPerCore: tt.perCore, Min: tt.min}).conntrackMax(tt.cpus); got != tt.want {
			t.Errorf("%d per core, at least %d, %d CPUs: %d, want %d", tt.perCore, tt.min, tt.cpus, got, tt.want)
		}
	}
}

func TestConntrackIsOnlyRaised(t *testing.T) {
	s := newSystem(t, "6.12.0", map[string]int{"net/netfilter/nf_conntrack_max": 500000})
	put(t, filepath.Join(s.Sys, hashsize), 1024)
	changed, _ := apply(t, s, full())
	if diff := cmp.Diff([]string{"/sys/" + hashsize + ": 32768, was 1024"}, changed); diff != "" {
		t.Error(diff)
	}
	if err := os.Remove(filepath.Join(s.Sys, hashsize)); err != nil {
		t.Fatal(err)
	}
	if changed, warnings := apply(t, s, full()); len(changed) > 0 || len(warnings) != 1 || !strings.Contains(warnings[0], "mount the host's /sys") {
		t.Errorf("without hash size: changed %q, warnings %q", changed, warnings)
	}
}

func TestWarnings(t *testing.T) {
	s := newSystem(t, "6.12.0", map[string]int{"net/ipv6/conf/all/forwarding": 0, "net/bridge/bridge-nf-call-iptables": 0, "net/bridge/bridge-nf-call-ip6tables": 0})
	changed, warnings := apply(t, s, full())
	if len(changed) > 0 || len(warnings) != 3 {
		t.Errorf("changed %q, warnings %q; want three warnings and no change", changed, warnings)
	}
	if _, warnings := apply(t, s, Settings{Families: []dataplane.Family{dataplane.IPv4}}); len(warnings) != 1 {
		t.Errorf("warnings %q for IPv4 alone, want one", warnings)
	}
	for _, gone := range []string{"net/bridge", "net/ipv6"} {
		if err := os.RemoveAll(filepath.Join(s.ProcSys, gone)); err != nil {
			t.Fatal(err)
		}
	}
	if _, warnings := apply(t, s, full()); len(warnings) > 0 {
		t.Errorf("warnings %q of what the kernel does not have", warnings)
	}
}

func TestMissingParameters(t *testing.T) {
	for _, tt := range []struct{ gone, says string }{
		{"net/ipv4/vs", "modprobe ip_vs"}, {"net/netfilter", "modprobe nf_conntrack"}, {"net/ipv4/ip_forward", "/proc/sys"},
	} {
		s := newSystem(t, "6.12.0", map[string]int{"net/ipv4/conf/all/arp_ignore": 0})
		if err := os.RemoveAll(filepath.Join(s.ProcSys, tt.gone)); err != nil {
			t.Fatal(err)
		}
		changed, _, err := s.Apply(t.Context(), full())
		if !errors.Is(err, dataplane.ErrUnavailable) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), tt.gone) {
			t.Errorf("without %s: %v", tt.gone, err)
		}
		if len(changed) != 1 {
			t.Errorf("without %s: changed %q, want the others set nevertheless", tt.gone, changed)
		}
	}
}

func TestUnreadableValue(t *testing.T) {
	s := newSystem(t, "6.12.0", nil)
	if err := os.WriteFile(filepath.Join(s.ProcSys, "net/ipv4/ip_forward"), []byte("yes\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Apply(t.Context(), full()); !errors.Is(err, dataplane.ErrInvalid) || !strings.Contains(err.Error(), `"yes\n"`) {
		t.Errorf("error %v", err)
	}
}

func TestApplyStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	changed, _, err := newSystem(t, "6.12.0", map[string]int{"net/ipv4/ip_forward": 0}).Apply(ctx, full())
	if !errors.Is(err, context.Canceled) || len(changed) > 0 {
		t.Errorf("changed %q, %v", changed, err)
	}
}

func TestOnlineCPUs(t *testing.T) {
	for list, want := range map[string]int{"0": 1, "0-3": 4, "0-3,8,10-11": 7} {
		if got, err := countCPUs(list); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", list, got, err, want)
		}
	}
	for _, list := range []string{"", "a", "3-1", "1-"} {
		if got, err := countCPUs(list); !errors.Is(err, dataplane.ErrInvalid) {
			t.Errorf("%q: %d, %v; want an error", list, got, err)
		}
	}
}
