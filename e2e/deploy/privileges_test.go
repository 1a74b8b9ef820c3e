package deploy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// newBasePod is a Pod of the base, with the administrator's token: privileges are the kernel's business here.
func newBasePod(t *testing.T) *pod {
	t.Helper()
	config, _ := administrator(t)
	c := cluster.New(t, topology.Options{})
	base := render(t, "base")
	return newPod(t, c, base.daemonSet(t), forTest(t, base.configMap(t).Data), config.BearerToken)
}

// The daemon runs with what the DaemonSet gives it and no more, and can remove with that what it made.
func TestPrivilegesAreEnough(t *testing.T) {
	t.Parallel()
	p := newBasePod(t)
	p.initialise(t)
	locked := p.daemon(t)
	daemon := p.start(t, locked)
	daemon.says(t, served)
	daemon.isLockedIn(t, locked)
	service := p.cluster.AddService(t, "web")
	service.SetEndpoints(t, p.cluster.Endpoint(p.cluster.AddServer(t, p.cluster.Node, "web")))
	client := p.cluster.Node.AddPod(t, "client")
	for _, way := range cluster.Ways(cluster.ClusterIP) {
		cluster.AwaitAnswer(t, client.Netns, service.Target(way), "web")
	}
	daemon.stop(t)
	locked.Scratch = t.TempDir()
	locked.Command = append(locked.Command, "--cleanup")
	cleanup := p.start(t, locked)
	if status := cleanup.status(t); status != 0 {
		t.Fatalf("--cleanup ended with status %d", status)
	}
	for _, command := range []string{"ipvsadm -Sn", "ipset list -n", "iptables-save", "ip6tables-save", "ip -o link"} {
		left := cluster.Run(t, p.cluster.Node.Netns, "sh", "-c", command)
		for _, ours := range []string{"-A -", "KUBE-SERVICES", "KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP", "kube-ipvs0"} {
			if strings.Contains(left, ours) {
				t.Errorf("after --cleanup %s prints\n%s", command, left)
			}
		}
	}
}

// isLockedIn asks the kernel what the running daemon may do.
func (r *process) isLockedIn(t *testing.T, locked container) {
	t.Helper()
	var want uint64
	for _, name := range locked.Capabilities {
		want |= 1 << capabilityNumbers()[name]
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.ReplaceAll(string(status), "\t", ""), "\n")
	for _, line := range []string{fmt.Sprintf("CapBnd:%016x", want), fmt.Sprintf("CapPrm:%016x", want), fmt.Sprintf("CapEff:%016x", want),
		fmt.Sprintf("CapInh:%016x", 0), fmt.Sprintf("CapAmb:%016x", 0), "NoNewPrivs:1"} {
		if !slices.Contains(lines, line) {
			t.Errorf("the running daemon's status lacks %s:\n%s", line, status)
		}
	}
	for _, place := range []string{"", "/proc/sys", "/sys", "/usr"} {
		var file unix.Statfs_t
		if err := unix.Statfs(fmt.Sprintf("/proc/%d/root%s", r.command.Process.Pid, place), &file); err != nil {
			t.Fatal(err)
		}
		if file.Flags&unix.ST_RDONLY == 0 {
			t.Errorf("the running daemon can write to %s/", place)
		}
	}
}

// Each capability of the DaemonSet is needed: without it the daemon names it.
func TestEveryCapabilityIsNeeded(t *testing.T) {
	t.Parallel()
	p := newBasePod(t)
	p.initialise(t)
	listed := p.daemon(t).Capabilities
	if !slices.Contains(listed, "NET_ADMIN") {
		t.Fatalf("the DaemonSet lists %v", listed)
	}
	for _, capability := range listed {
		t.Run(capability, func(t *testing.T) {
			c := p.daemon(t)
			c.Capabilities = slices.DeleteFunc(c.Capabilities, func(name string) bool { return name == capability })
			daemon := p.start(t, c)
			daemon.says(t, "permission denied", "CAP_"+capability)
			if capability != "NET_ADMIN" {
				daemon.stop(t) // IPVS works; rules are missing, and tried again
				return
			}
			if status := daemon.status(t); status != statusKernel {
				t.Errorf("the daemon ended with status %d, want %d", status, statusKernel)
			}
		})
	}
}

// statusKernel is the daemon's exit status when the kernel lacks something or forbids it.
const statusKernel = 3

// Without its init container the daemon finds kernel parameters wrong that it cannot set, and says what to do.
func TestInitContainerIsNeeded(t *testing.T) {
	t.Parallel()
	p := newBasePod(t)
	daemon := p.start(t, p.daemon(t))
	daemon.says(t, "net/ipv4/vs/conntrack", "--init-only")
	if status := daemon.status(t); status != statusKernel {
		t.Errorf("the daemon ended with status %d, want %d", status, statusKernel)
	}
}
