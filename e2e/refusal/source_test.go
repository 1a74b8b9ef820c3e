package refusal

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// listen occupies a TCP address of the node until the test ends.
func (g ground) listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := g.node.Listen(topology.TCP, netip.MustParseAddrPort(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // it may be closed
	return listener
}

// ends waits until the daemon ends by itself, in good order.
func (d *daemon) ends(t *testing.T) {
	t.Helper()
	select {
	case <-d.gone:
	case <-time.After(cluster.Patience):
		t.Fatal("the daemon does not end")
	}
	if d.err != nil {
		t.Errorf("the daemon ended with %v", d.err)
	}
}

// account is a script that gives the daemon a Pod's ServiceAccount.
const account = `
DIR=/var/run/secrets/kubernetes.io/serviceaccount
mkdir -p "$(dirname $DIR)"
mount -t tmpfs none "$(dirname $DIR)"
mkdir $DIR
echo token > $DIR/token
export KUBERNETES_SERVICE_HOST=10.96.0.1 KUBERNETES_SERVICE_PORT=443
`

// A source that cannot be reached, or whose settings make no sense, ends the daemon with a way out.
func TestSources(t *testing.T) {
	files := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const blackhole = "ip route add blackhole 10.96.0.0/16"
	const silence = "ip link add gone type dummy\nip link set gone up\nip route add 10.96.0.0/16 dev gone"
	for _, c := range []struct {
		name, script, flag string
		status             int
		says               []string
	}{
		{"no directory", "true", "--manifests=/does/not/exist", statusSource, []string{"create the directory /does/not/exist"}},
		{"directory is a file", "true", "--manifests=" + write("file", ""), statusSource, []string{"not a directory"}},
		{"no kubeconfig", "true", "--kubeconfig=/does/not/exist", statusSource, []string{"kubeconfig /does/not/exist", "give the path"}},
		{"kubeconfig is no YAML", "true", "--kubeconfig=" + write("broken", "nonsense: ["), statusSource, []string{"broken", "yaml: line 1", "give the path"}},
		{"kubeconfig says nothing", "true", "--kubeconfig=" + write("empty", "kind: Config"), statusSource, []string{"empty", "check its current-context"}},
		{"neither", "true", "-v=0", statusSource, []string{"no kubeconfig was given", "--kubeconfig"}},
		{"Pod without an account", "export KUBERNETES_SERVICE_HOST=10.96.0.1 KUBERNETES_SERVICE_PORT=443", "-v=0", statusSource, []string{"serviceaccount/token", "--kubeconfig"}},
		{"unreachable ClusterIP", account + blackhole, "-v=0", statusSource, []string{"10.96.0.1 is programmed by this very daemon", "--master"}},
		{"silent ClusterIP", account + silence, "-v=0", statusSource, []string{"10.96.0.1 is programmed by this very daemon", "--master"}},
		{"mode", "true", "--proxy-mode=iptables", statusConfig, []string{"ipvs mode and nothing else", "leave it empty"}},
		{"unknown flag", "true", "--nonsense", statusConfig, []string{"--nonsense", "--help"}},
		{"no configuration file", "true", "--config=/does/not/exist", statusConfig, []string{"/does/not/exist", "check --config"}},
		{"mode of the file", "true", "--config=" + write("mode", header+"mode: nftables\n"), statusConfig, []string{`mode: "nftables"`, "run kube-proxy"}},
		{"value of the file", "true", "--config=" + write("value", header+"ipvs: {syncPeriod: -1s}\nclusterCIDR: nonsense\n"), statusConfig, []string{"syncPeriod", "nonsense"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t)
			t.Parallel()
			g.startIn(t, c.script, c.flag).isRefused(t, c.status, c.says...)
		})
	}
	t.Run("unknown field", func(t *testing.T) {
		g := newGround(t)
		t.Parallel()
		d := g.start(t, "--config="+write("field", header+"ipvss: {scheduler: lc}\n"))
		d.says(t, `unknown field "ipvss"`, "correct or remove it", served)
		d.serves(t, good4+good6)
		d.stop(t)
	})
}

const header = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
