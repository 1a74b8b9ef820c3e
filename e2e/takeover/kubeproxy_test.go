package takeover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

const (
	// syncPatience is how long kube-proxy's first sync may take: it starts a process for each entry of a set.
	syncPatience = 5 * time.Minute
	// stopPatience is how long it may take to end.
	stopPatience = 20 * time.Second
)

// config has kube-proxy sync when something changes and not in between. It has no say in settings of the whole kernel.
const config = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %s
clientConnection: {kubeconfig: %q}
hostnameOverride: %q
clusterCIDR: %s
conntrack: {maxPerCore: 0}
ipvs: {scheduler: rr, syncPeriod: 1h, minSyncPeriod: 0s}
iptables: {syncPeriod: 1h, minSyncPeriod: 0s}
nftables: {syncPeriod: 1h, minSyncPeriod: 0s}
`

// kubeProxy is kube-proxy 1.37 on the first node.
type kubeProxy struct {
	process *topology.Cmd // nil when it does not run
	ended   chan error
	output  topology.Output
}

// startKubeProxy starts kube-proxy and returns when it has synced both families once.
func startKubeProxy(t *testing.T, c *cluster.Cluster, mode string) *kubeProxy {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf(config, mode, os.Getenv("KUBECONFIG"), c.NodeName(c.Node), podCIDRs)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	k := &kubeProxy{ended: make(chan error, 1)}
	command := c.Node.Command(context.WithoutCancel(t.Context()), kubeProxyBinary(t), "--config="+file, "-v=4")
	command.Stdout, command.Stderr = &k.output, &k.output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	k.process = command
	go func() { k.ended <- command.Wait() }()
	t.Cleanup(func() {
		k.stop(t)
		if t.Failed() {
			t.Logf("kube-proxy in mode %s wrote:\n%s", mode, k.output.Tail())
		}
	})
	cluster.AwaitFor(t, syncPatience, "kube-proxy's first sync", func() error { return k.synced(t, mode) })
	return k
}

// synced says whether a sync of each family has ended, by what kube-proxy logs.
func (k *kubeProxy) synced(t *testing.T, mode string) error {
	select {
	case err := <-k.ended:
		k.process = nil
		t.Fatalf("kube-proxy ended by itself: %v; it wrote:\n%s", err, k.output.Tail())
	default:
	}
	done := map[string]string{"ipvs": "syncProxyRules complete", "iptables": "SyncProxyRules complete", "nftables": "SyncProxyRules complete"}[mode]
	if times := strings.Count(k.output.String(), done); times < 2 {
		return fmt.Errorf("%d syncs have ended, want one for each family", times)
	}
	return nil
}

// stop ends kube-proxy as its DaemonSet's replacement does.
func (k *kubeProxy) stop(t *testing.T) {
	t.Helper()
	if k.process == nil {
		return
	}
	process := k.process
	k.process = nil
	_ = process.Process.Signal(syscall.SIGTERM)
	select {
	case <-k.ended: // it does not catch the signal, so that its status means nothing
	case <-time.After(stopPatience):
		_ = process.Process.Kill()
		t.Errorf("kube-proxy did not end within %v of SIGTERM: %v", stopPatience, <-k.ended)
	}
}

// kubeProxyBinary returns the copy of kube-proxy, which it makes if there is none.
func kubeProxyBinary(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat(copied()); err == nil {
		return copied()
	}
	from := "../../.cache/bin/kube-proxy"
	if daemon := os.Getenv("KUBE_IPVS_PROXY_BINARY"); daemon != "" {
		if beside := filepath.Join(filepath.Dir(daemon), "kube-proxy"); !missing(beside) {
			from = beside
		}
	}
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatalf("kube-proxy is not built: %v (make controlplane)", err)
	}
	if err := os.WriteFile(copied(), content, 0o755); err != nil {
		t.Fatal(err)
	}
	return copied()
}

func missing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, fs.ErrNotExist)
}
