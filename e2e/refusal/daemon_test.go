package refusal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// The exit statuses of the daemon.
const (
	statusOK     = 0
	statusConfig = 2
	statusKernel = 3
	statusSource = 4
	statusListen = 5
)

// served is the line of the log from which on the manifests are in the kernel.
const served = "every source is complete"

// good is a Service that is served whatever is wrong beside it.
const good = `
{kind: Service, apiVersion: v1, metadata: {name: good}, spec: {clusterIPs: [10.96.0.80, "fd00:96::80"], ports: [{port: 80}]}}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, metadata: {name: good-4, labels: {kubernetes.io/service-name: good}},
  addressType: IPv4, ports: [{port: 8080}], endpoints: [{addresses: [10.244.1.2]}]}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, metadata: {name: good-6, labels: {kubernetes.io/service-name: good}},
  addressType: IPv6, ports: [{port: 8080}], endpoints: [{addresses: ["fd00:10:244:1::2"]}]}
`

// What ipvsadm -Sn says of the good Service.
const (
	good4 = "-A -t 10.96.0.80:80 -s rr\n-a -t 10.96.0.80:80 -r 10.244.1.2:8080 -m -w 1\n"
	good6 = "-A -t [fd00:96::80]:80 -s rr\n-a -t [fd00:96::80]:80 -r [fd00:10:244:1::2]:8080 -m -w 1\n"
)

// ground is where a test runs the daemon: a node of its own, and a directory of manifests with the good Service.
type ground struct {
	node      *topology.Host
	manifests string
	binary    string
}

// newGround makes one. It fails or skips the test if the run lacks what it takes.
func newGround(t *testing.T) ground {
	t.Helper()
	binary := cluster.Binary(t)
	g := ground{node: topology.New(t, topology.Options{Pods: topology.Routed}).Node, manifests: t.TempDir(), binary: binary}
	// Whoever the daemon runs as has to be able to read it.
	for dir := g.manifests; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	g.write(t, "good.yaml", good)
	return g
}

func (g ground) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.manifests, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sh runs a script on the node and returns what it printed.
func (g ground) sh(t *testing.T, script string) string {
	t.Helper()
	return cluster.Run(t, g.node.Netns, "sh", "-ec", script)
}

// daemon is kube-ipvs-proxy while and after it runs.
type daemon struct {
	ground
	output  topology.Output
	process *topology.Cmd
	gone    chan struct{} // closed at the process's end
	err     error         // how it ended, then
}

// start starts the daemon with the manifests and flags.
func (g ground) start(t *testing.T, flags ...string) *daemon {
	t.Helper()
	return g.startIn(t, "true", append([]string{"--manifests=" + g.manifests}, flags...)...)
}

// startIn starts the daemon with the flags alone, after a script has prepared the mount namespace and environment in
// which it runs. A script may also end in exec and a program that runs "$@".
func (g ground) startIn(t *testing.T, script string, flags ...string) *daemon {
	t.Helper()
	arguments := append([]string{"-m", "sh", "-ec", script + "\nexec \"$@\"", "sh", g.binary,
		"--hostname-override=node-1", "--conntrack-max-per-core=0"}, flags...)
	d := &daemon{ground: g, gone: make(chan struct{})}
	d.process = g.node.Command(context.WithoutCancel(t.Context()), "unshare", arguments...)
	d.process.Stdout, d.process.Stderr = &d.output, &d.output
	if err := d.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.err = d.process.Wait(); close(d.gone) }()
	t.Cleanup(func() {
		_ = d.process.Process.Kill() // it may have ended
		<-d.gone
		if t.Failed() || testing.Verbose() {
			t.Logf("%s: the daemon %q wrote:\n%s", script, flags, d.output.String())
		}
		if text := d.output.String(); strings.Contains(text, "panic:") || strings.Contains(text, "goroutine ") {
			t.Errorf("the daemon panicked:\n%s", text)
		}
	})
	return d
}

// says waits until the daemon has written each of the texts.
func (d *daemon) says(t *testing.T, texts ...string) {
	t.Helper()
	cluster.Await(t, "the daemon's words", func() error {
		ended := d.ended()
		for _, text := range texts {
			if !strings.Contains(d.output.String(), text) {
				if ended {
					t.Fatalf("the daemon ended without having said %q: %v", text, d.err)
				}
				return fmt.Errorf("it has not said %q", text)
			}
		}
		return nil
	})
}

func (d *daemon) ended() bool {
	select {
	case <-d.gone:
		return true
	default:
		return false
	}
}

// serves waits until the kernel has exactly these virtual and real servers.
func (d *daemon) serves(t *testing.T, want string) {
	t.Helper()
	cluster.Await(t, "ipvsadm -Sn", func() error {
		if got := cluster.TableOf(d.sh(t, "ipvsadm -Sn")); got != cluster.TableOf(want) {
			return fmt.Errorf("it has\n%swant\n%s", got, want)
		}
		return nil
	})
}

// isRefused waits until the daemon ends by itself, with the status, in its last lines, one of each text.
func (d *daemon) isRefused(t *testing.T, status int, texts ...string) {
	t.Helper()
	select {
	case <-d.gone:
	case <-time.After(cluster.Patience):
		t.Fatalf("the daemon still runs after %v", cluster.Patience)
	}
	if got := d.status(); got != status {
		t.Errorf("the daemon ended with status %d (%v), want %d", got, d.err, status)
	}
	_, last, found := strings.Cut(d.output.String(), "kube-ipvs-proxy: ")
	if !found {
		t.Error("the daemon did not say why it ended")
	}
	for _, text := range texts {
		if !strings.Contains(last, text) {
			t.Errorf("the daemon's reason %q lacks %q", last, text)
		}
	}
}

func (d *daemon) status() int {
	var exit *exec.ExitError
	if errors.As(d.err, &exit) {
		return exit.ExitCode()
	}
	return statusOK
}

// stop asks the daemon to end, which it has to do in good order.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	if err := d.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	select {
	case <-d.gone:
	case <-time.After(cluster.Patience):
		t.Fatal("the daemon does not stop")
	}
	if d.err != nil {
		t.Errorf("the daemon ended with %v, want status 0", d.err)
	}
	if strings.Contains(d.output.String(), context.Canceled.Error()) {
		t.Error("the daemon told of its own stopping as a failure")
	}
}
