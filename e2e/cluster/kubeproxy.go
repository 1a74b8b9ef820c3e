package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/topology"
)

// stopPatience is how long kube-proxy may take to end.
const stopPatience = 2 * time.Minute

// KubeProxy is kube-proxy 1.37 on a node. Its methods must not be called at the same time.
type KubeProxy struct {
	// Output is what it has written. At verbosity 4, with which it runs, that tells when a sync begins and ends.
	Output topology.Output

	process *topology.Cmd // nil when it does not run
	ended   chan error    // gets the process's end
}

// StartKubeProxy starts kube-proxy on a node with a configuration file of this content, and stops it when the test ends. That
// it is at work shows only in the kernel and in what it writes.
func StartKubeProxy(t testing.TB, on *topology.Host, config string) *KubeProxy {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	k := &KubeProxy{ended: make(chan error, 1)}
	// It outlives the test's context, which ends before the clean-up that stops it.
	k.process = on.Command(context.WithoutCancel(t.Context()), kubeProxyBinary(t), "--config="+file, "-v=4")
	k.process.Stdout, k.process.Stderr = &k.Output, &k.Output
	if err := k.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func(process *topology.Cmd) { k.ended <- process.Wait() }(k.process)
	t.Cleanup(func() {
		k.Stop(t)
		if t.Failed() {
			t.Logf("kube-proxy wrote:\n%s", k.Output.Tail())
		}
	})
	return k
}

// Alive returns an error if kube-proxy has ended by itself.
func (k *KubeProxy) Alive() error {
	select {
	case err := <-k.ended:
		k.process = nil
		return fmt.Errorf("kube-proxy ended by itself: %w; it wrote:\n%s", err, k.Output.Tail())
	default:
		return nil
	}
}

// Signal sends it a signal, if it runs.
func (k *KubeProxy) Signal(which syscall.Signal) {
	if k.process != nil {
		_ = k.process.Process.Signal(which) // that it has ended shows in Alive
	}
}

// Stop ends kube-proxy as its DaemonSet's replacement does. Stopping twice is fine.
func (k *KubeProxy) Stop(t testing.TB) {
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

// kubeProxyBinary returns a copy of kube-proxy, from beside the daemon if it is there, else from where make controlplane puts it.
func kubeProxyBinary(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(root, filepath.Dir(binaryName), "kube-proxy")
	if daemon := os.Getenv("KUBE_IPVS_PROXY_BINARY"); daemon != "" {
		beside := filepath.Join(filepath.Dir(daemon), "kube-proxy")
		if _, err := os.Stat(beside); err == nil {
			from = beside
		}
	}
	binary, err := nearby(from)
	if err != nil {
		t.Fatalf("kube-proxy is not built: %v (make controlplane)", err)
	}
	return binary
}
