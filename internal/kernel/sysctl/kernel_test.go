package sysctl

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for namespaces: run `make kernel-test`")
	}
}

func TestRealKernelInANetworkNamespace(t *testing.T) {
	needRoot(t)
	kerneltest.Netns(t)
	put(t, "/proc/sys/net/ipv4/ip_forward", 0)
	settings := full()
	settings.Conntrack.MaxPerCore, settings.Conntrack.Min = 1, 1<<30 // certainly more than the host has
	changed, warnings, err := System{}.Apply(t.Context(), settings)
	if _, missing := os.Stat("/proc/sys/net/ipv4/vs"); missing == nil && err != nil {
		t.Error(err)
	} else if missing != nil && !errors.Is(err, dataplane.ErrUnavailable) {
		t.Errorf("without IPVS: %v", err)
	}
	for name, want := range map[string]int{"net/ipv4/ip_forward": 1, "net/ipv4/conf/all/arp_announce": 2, "net/netfilter/nf_conntrack_udp_timeout": 250} {
		if got := get(t, filepath.Join("/proc/sys", name)); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
		if !slices.ContainsFunc(changed, func(line string) bool { return strings.HasPrefix(line, name+": ") }) {
			t.Errorf("changed %q does not name %s", changed, name)
		}
	}
	for _, name := range []string{"net/netfilter/nf_conntrack_max", "/sys/" + hashsize} {
		if !slices.ContainsFunc(warnings, func(line string) bool { return strings.HasPrefix(line, name+" should be at least") }) {
			t.Errorf("warnings %q, want one that %s belongs to the host", warnings, name)
		}
	}
	changed, _, _ = System{}.Apply(t.Context(), settings)
	if len(changed) > 0 {
		t.Errorf("second time changed %q", changed)
	}
}

// readOnly mounts the directory onto itself read-only, as a container runtime does with /proc/sys.
func readOnly(t *testing.T, directory string) {
	t.Helper()
	if err := unix.Mount(directory, directory, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("bind %s: %v", directory, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(directory, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", directory, err)
		}
	})
	if err := unix.Mount("", directory, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatalf("make %s read-only: %v", directory, err)
	}
}

func TestReadOnlyWithRightValuesIsFine(t *testing.T) {
	needRoot(t)
	s := newSystem(t, "6.12.0", nil)
	readOnly(t, s.ProcSys)
	readOnly(t, s.Sys)
	if changed, warnings := apply(t, s, full()); len(changed)+len(warnings) > 0 {
		t.Errorf("changed %q, warnings %q", changed, warnings)
	}
}

func TestReadOnlyWithWrongValuesSaysWhatToDo(t *testing.T) {
	needRoot(t)
	s := newSystem(t, "6.12.0", map[string]int{"net/ipv4/ip_forward": 0, "net/ipv4/vs/conntrack": 0, "net/netfilter/nf_conntrack_max": 1})
	put(t, filepath.Join(s.Sys, hashsize), 1)
	readOnly(t, s.ProcSys)
	readOnly(t, s.Sys)
	changed, warnings, err := s.Apply(t.Context(), full())
	if !errors.Is(err, dataplane.ErrPermission) || len(changed) > 0 {
		t.Fatalf("changed %q, %v", changed, err)
	}
	for _, words := range []string{"set net/ipv4/ip_forward to 1: is 0", "set net/ipv4/vs/conntrack to 1", "run with --init-only in a privileged init container"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("error %q does not say %q", err, words)
		}
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "nf_conntrack_max should be at least 131072") || !strings.Contains(warnings[1], "hashsize should be at least 32768") {
		t.Errorf("warnings %q, want one each for what belongs to the host", warnings)
	}
}
