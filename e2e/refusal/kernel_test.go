package refusal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
)

// missing is a kernel without a module.
type missing struct {
	name, module string
	flags        []string
	refused      []string          // what the daemon says when it ends with status 3; nil when it goes on
	fails        []string          // what it says when it goes on
	holds        map[string]string // what scripts print of what there is nevertheless
}

func missingModules() []missing {
	return []missing{
		{name: "scheduler", module: "ip_vs_lc", flags: []string{"--ipvs-scheduler=lc"},
			refused: []string{`scheduler not available: "lc"`, "modprobe ip_vs_lc"}},
		{name: "IPVS", module: "ip_vs", refused: []string{"IPVS", "modprobe ip_vs"}},
		{name: "ipset", module: "ip_set", refused: []string{"ipset", "modprobe ip_set"}},
		{name: "device", module: "dummy", fails: []string{"create the device kube-ipvs0", "modprobe dummy"}},
		{name: "set type", module: "ip_set_hash_ipportip", fails: []string{"create KUBE-LOOP-BACK", "hash:ip,port,ip", "load module ip_set_hash_ipportip"},
			holds: map[string]string{"iptables-save -t nat": "KUBE-CLUSTER-IP dst,dst", "iptables-save -t filter": "not in loadBalancerSourceRanges"}},
		{name: "match", module: "xt_set", fails: []string{"iptables-restore", "missing kernel module", "modprobe xt_set"}},
		{name: "connection tracking over netlink", module: "nf_conntrack_netlink"},
	}
}

// What can never work ends the daemon: a scheduler that the kernel lacks, for one, before any Service is touched, with a
// message that names its module and how to load it (P29). What an administrator can load while it runs is told, and heals.
func TestP29_MissingModules(t *testing.T) {
	cluster.Binary(t)
	if os.Getenv("KUBE_IPVS_PROXY_LAB") != "vm" {
		t.Skip("this unloads modules, which is for the lab's own machine: LAB_MODE=vm")
	}
	t.Run("nothing", func(t *testing.T) {
		d := newGround(t).start(t)
		d.serves(t, good4+good6)
		d.stop(t)
	}) // which also loads all that the daemon needs
	for _, c := range missingModules() {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t)
			bring := withoutModule(t, c.module)
			d := g.start(t, c.flags...)
			if c.refused != nil {
				d.isRefused(t, statusKernel, c.refused...)
				return
			}
			d.says(t, c.fails...)
			d.serves(t, good4+good6)
			for script, text := range c.holds {
				g.holds(t, script, text)
			}
			bring()
			d.says(t, served)
			if c.fails != nil {
				d.says(t, "step works again")
			}
			g.holds(t, "iptables-save", "KUBE-SERVICES")
			g.holds(t, "ip addr show kube-ipvs0", "10.96.0.80/32")
			g.holds(t, "ipset list KUBE-CLUSTER-IP", "10.96.0.80,tcp:80")
			d.stop(t)
		})
	}
}

// withoutModule unloads a module with those that use it, and keeps the kernel from loading any, until the returned function
// is called or the test ends. An empty path lets the kernel give up at once, without starting a program for every rule.
func withoutModule(t *testing.T, module string) (bring func()) {
	t.Helper()
	modprobe, err := os.ReadFile(modprobePath)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(modprobePath, []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
	var unloaded []string
	bring = func() {
		if err := os.WriteFile(modprobePath, modprobe, 0); err != nil {
			t.Fatal(err)
		}
		if len(unloaded) == 0 {
			return // it was not loaded
		}
		if output, err := exec.Command("modprobe", append([]string{"-a"}, unloaded...)...).CombinedOutput(); err != nil {
			t.Fatalf("load %v: %v: %s", unloaded, err, output)
		}
	}
	t.Cleanup(bring)
	// The namespaces of the tests before go on using it for a moment after their end.
	cluster.Await(t, "unload "+module, func() error { return unload(module, &unloaded) })
	return bring
}

const modprobePath = "/proc/sys/kernel/modprobe"

// unload unloads a module after those that use it.
func unload(module string, unloaded *[]string) error {
	users, err := os.ReadDir("/sys/module/" + module + "/holders")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, user := range users {
		if err := unload(user.Name(), unloaded); err != nil {
			return err
		}
	}
	if output, err := exec.Command("rmmod", module).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	*unloaded = append(*unloaded, module)
	return nil
}

// An unknown scheduler is the same as a missing one.
func TestP29_UnknownScheduler(t *testing.T) {
	g := newGround(t)
	t.Parallel()
	g.start(t, "--ipvs-scheduler=nonsense").isRefused(t, statusKernel, `"nonsense"`, "modprobe ip_vs_nonsense")
}

// With too few privileges the daemon says which one it lacks.
func TestPrivileges(t *testing.T) {
	const readOnly = "\nmount --bind /proc/sys /proc/sys\nmount -o remount,bind,ro /proc/sys"
	const right = "sysctl -qw net.ipv4.vs.conntrack=1 net.ipv4.vs.expire_nodest_conn=1 net.ipv4.vs.expire_quiescent_template=1 " +
		"net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_tcp_timeout_established=86400 net.netfilter.nf_conntrack_tcp_timeout_close_wait=3600"
	for _, c := range []struct {
		name, script string
		refused      []string
	}{
		{"not root", `exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`, []string{"permission denied", "CAP_NET_ADMIN"}},
		{"root without CAP_NET_ADMIN", `exec setpriv --bounding-set=-net_admin --inh-caps=-net_admin "$@"`, []string{"permission denied", "CAP_NET_ADMIN"}},
		{"wrong settings, read-only", "sysctl -qw net.ipv4.vs.conntrack=0" + readOnly, []string{"net/ipv4/vs/conntrack to 1: is 0", "--init-only"}},
		{"right settings, read-only", right + readOnly, nil},
		{"CAP_NET_ADMIN and CAP_NET_RAW only", right + "\n" + `exec setpriv --bounding-set=-all,+net_admin,+net_raw --inh-caps=-all,+net_admin,+net_raw "$@"`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t)
			t.Parallel()
			d := g.startIn(t, c.script, "--manifests="+g.manifests)
			if c.refused != nil {
				d.isRefused(t, statusKernel, c.refused...)
				return
			}
			d.says(t, served)
			d.serves(t, good4+good6)
			if rules := g.sh(t, "iptables-save"); !strings.Contains(rules, "KUBE-SERVICES") {
				t.Errorf("no rules:\n%s", rules)
			}
			d.stop(t)
		})
	}
	t.Run("no CAP_NET_RAW", func(t *testing.T) {
		g := newGround(t)
		t.Parallel()
		d := g.startIn(t, `exec setpriv --bounding-set=-net_raw --inh-caps=-net_raw "$@"`, "--manifests="+g.manifests)
		d.says(t, "permission denied", "CAP_NET_RAW", served)
		d.serves(t, good4+good6)
		d.stop(t)
	})
}

// The families are those that rules can be written for; what is left out is said.
func TestPrograms(t *testing.T) {
	const only = "mkdir $BIN\nfor tool in %; do cp \"$(readlink -f \"$(command -v $tool)\")\" $BIN/$tool; done\nexport PATH=$BIN\n" +
		"MOUNT=/usr/bin/mount\n$MOUNT --bind $BIN /usr/sbin\ntest -L /sbin || $MOUNT --bind $BIN /sbin"
	for _, c := range []struct {
		name, script string
		says         []string
		serves       string
	}{
		{"no iptables", strings.ReplaceAll(only, "%", ""), []string{"no iptables programs", "install the package iptables"}, ""},
		{"no ip6tables", strings.ReplaceAll(only, "%", "iptables-save iptables-restore"),
			[]string{"left out: no Service is served on this node over IPv6", "ip6tables-save", "install the package iptables"}, good4},
		{"no IPv6", "sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
			[]string{"left out: no Service is served on this node over IPv6", "net.ipv6.conf.all.disable_ipv6=1"}, good4},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t)
			t.Parallel()
			d := g.startIn(t, "BIN="+filepath.Join(t.TempDir(), "bin")+"\n"+c.script, "--manifests="+g.manifests)
			if c.serves == "" {
				d.isRefused(t, statusKernel, c.says...)
				return
			}
			d.says(t, append(c.says, served)...)
			d.serves(t, c.serves)
			d.stop(t)
		})
	}
}
