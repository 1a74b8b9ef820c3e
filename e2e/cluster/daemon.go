package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/topology"
)

// httpTimeout bounds one request to the daemon's listeners.
const httpTimeout = 30 * time.Second

// Daemon is kube-ipvs-proxy on the first node. Its methods must not be called at the same time.
type Daemon struct {
	// MayFail says that operations of the daemon may fail, because the test takes away what they work on. Otherwise it
	// fails the test that one did.
	MayFail bool

	cluster *Cluster
	output  topology.Output
	process *topology.Cmd // nil while it does not run
	ended   chan error    // gets the process's end
}

// StartDaemon starts the daemon on the first node with --kubeconfig, --hostname-override and the given flags, waits until
// it is healthy, and stops it when the test ends. It fails the test if the daemon ends by itself, or not in good order when
// it is asked to.
func (c *Cluster) StartDaemon(t testing.TB, flags ...string) *Daemon {
	t.Helper()
	d := &Daemon{cluster: c}
	t.Cleanup(func() {
		if d.process != nil {
			d.Stop(t)
		}
		d.checkOutput(t)
		if t.Failed() {
			t.Logf("the daemon on %s wrote:\n%s", c.NodeName(c.Node), d.output.Tail())
		}
	})
	d.Start(t, flags...)
	return d
}

// checkOutput looks for operations that the kernel refused. Those that were cut short when the daemon was stopped do not count.
func (d *Daemon) checkOutput(t testing.TB) {
	t.Helper()
	for line := range strings.Lines(d.output.String()) {
		if !d.MayFail && strings.Contains(line, "operation failed") && !strings.Contains(line, "context canceled") {
			t.Errorf("the daemon's log has: %s", line)
		}
	}
}

// Start starts the daemon, after Stop or Kill, and waits until it is healthy.
func (d *Daemon) Start(t testing.TB, flags ...string) {
	t.Helper()
	env := d.cluster.env
	arguments := append([]string{
		"--kubeconfig=" + env.kubeconfig,
		"--hostname-override=" + d.cluster.NodeName(d.cluster.Node),
		// The limit is the whole kernel's: no business of one namespace among several.
		"--conntrack-max-per-core=0",
		"-v=2",
	}, flags...)
	// It outlives the test's context, which ends before the clean-up that stops it.
	command := d.cluster.Node.Command(context.WithoutCancel(t.Context()), env.binary, arguments...)
	command.Stdout, command.Stderr = &d.output, &d.output
	fmt.Fprintf(&d.output, "%s $ kube-ipvs-proxy %s\n", time.Now().UTC().Format(time.RFC3339Nano), strings.Join(arguments, " "))
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	d.process, d.ended = command, make(chan error, 1)
	go func(ended chan<- error) { ended <- command.Wait() }(d.ended)
	Await(t, "the daemon's /healthz", func() error {
		select {
		case err := <-d.ended:
			d.process = nil
			t.Fatalf("the daemon ended by itself: %v", err)
		default:
		}
		_, err := d.Get("10256", "/healthz")
		return err
	})
}

// Stop ends the daemon with SIGTERM and fails the test unless it ends with status 0.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	if err := d.end(t, syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM the daemon ended with %v, want status 0", err)
	}
}

// Kill ends the daemon with SIGKILL.
func (d *Daemon) Kill(t testing.TB) {
	t.Helper()
	err := d.end(t, syscall.SIGKILL)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the daemon was gone before it was killed: %v", err)
	}
}

// Restart stops the daemon and starts it with the given flags.
func (d *Daemon) Restart(t testing.TB, flags ...string) {
	t.Helper()
	d.Stop(t)
	d.Start(t, flags...)
}

// end sends a signal and waits for the process to end.
func (d *Daemon) end(t testing.TB, signal syscall.Signal) error {
	t.Helper()
	if d.process == nil {
		t.Fatal("the daemon does not run")
	}
	process := d.process
	d.process = nil
	if err := process.Process.Signal(signal); err != nil {
		return fmt.Errorf("it had ended already: %w, %w", err, <-d.ended)
	}
	select {
	case err := <-d.ended:
		return err
	case <-time.After(Patience):
		_ = process.Process.Kill()
		return fmt.Errorf("%v had not ended it after %v: %w", signal, Patience, <-d.ended)
	}
}

// Get asks a listener of the daemon on the node's loopback and returns the body. An answer other than 200 is an error.
func (d *Daemon) Get(port, path string) (string, error) {
	response, err := d.cluster.Node.HTTPClient(httpTimeout).Get("http://127.0.0.1:" + port + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s: %s", path, response.Status, body)
	}
	return string(body), nil
}

// Output is what the daemon has written so far, in all its runs.
func (d *Daemon) Output() string { return d.output.String() }
