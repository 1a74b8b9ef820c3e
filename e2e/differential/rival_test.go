package differential

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

	"kube-ipvs-proxy/e2e/topology"
)

// rivalConfig has kube-proxy sync when something changes and not in between, since each sync takes it seconds here. It has no
// say in settings of the whole kernel.
const rivalConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
clientConnection: {kubeconfig: %q}
hostnameOverride: %q
nodePortAddresses: [%s]
conntrack: {maxPerCore: 0}
ipvs: {scheduler: %q, syncPeriod: 1h, minSyncPeriod: 0s}
`

// rival is kube-proxy on a node.
type rival struct {
	on      *topology.Host
	node    string // name of its Node object
	process *topology.Cmd
	ended   chan error
	output  *topology.Output
}

// start starts kube-proxy. That it is at work shows only in the kernel.
func (r *rival) start(t *testing.T, settings Settings) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.yaml")
	content := fmt.Sprintf(rivalConfig, os.Getenv("KUBECONFIG"), r.node, quoted(settings.NodePortAddresses), settings.Scheduler)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	command := r.on.Command(context.WithoutCancel(t.Context()), rivalBinary(t), "--config="+config, "-v=4")
	r.output = &topology.Output{} // of one run, so that syncs can be counted
	command.Stdout, command.Stderr = r.output, r.output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	r.process, r.ended = command, make(chan error, 1)
	go func(ended chan<- error) { ended <- command.Wait() }(r.ended)
}

// pause and resume let it stand still in between, if it runs.
func (r *rival) pause() { r.signal(syscall.SIGSTOP) }

func (r *rival) resume() { r.signal(syscall.SIGCONT) }

func (r *rival) signal(which syscall.Signal) {
	if r.process != nil {
		_ = r.process.Process.Signal(which) // that it has ended shows in alive
	}
}

// idle says whether a sync is going on, by what kube-proxy logs at the beginning and the end of each.
func (r *rival) idle() error {
	begun, ended := strings.Count(r.output.String(), "Syncing ipvs proxier rules"), strings.Count(r.output.String(), "syncProxyRules complete")
	if begun == 0 || begun > ended {
		return fmt.Errorf("%d syncs have begun and %d ended", begun, ended)
	}
	return nil
}

// zoned counts how often kube-proxy has been told of the node's zone.
func (r *rival) zoned() int {
	return strings.Count(r.output.String(), "Updated proxier node topology labels")
}

// alive says whether kube-proxy has ended by itself.
func (r *rival) alive() error {
	select {
	case err := <-r.ended:
		r.process = nil
		return fmt.Errorf("kube-proxy ended by itself: %w; it wrote:\n%s", err, r.output.Tail())
	default:
		return nil
	}
}

// stopPatience is how long kube-proxy may take to end.
const stopPatience = 20 * time.Second

func (r *rival) stop(t *testing.T) {
	t.Helper()
	if r.process == nil {
		return
	}
	process := r.process
	r.process = nil
	_ = process.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.ended: // it does not catch the signal, so that its status means nothing
	case <-time.After(stopPatience):
		_ = process.Process.Kill()
		t.Errorf("kube-proxy did not end within %v of SIGTERM: %v", stopPatience, <-r.ended)
	}
}

func quoted(list []string) string {
	var out []string
	for _, item := range list {
		out = append(out, fmt.Sprintf("%q", item))
	}
	return strings.Join(out, ", ")
}

// rivalBinary returns a copy of kube-proxy in the directory for temporary files, from where it starts faster than from one
// that the lab's machine shares with its host.
func rivalBinary(t *testing.T) string {
	t.Helper()
	daemon := os.Getenv("KUBE_IPVS_PROXY_BINARY")
	from := filepath.Join(filepath.Dir(daemon), "kube-proxy")
	if daemon == "" {
		from = "../../.cache/bin/kube-proxy"
	}
	to := rivalCopy()
	if _, err := os.Stat(to); err == nil {
		return to
	}
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatalf("kube-proxy is not built: %v (make controlplane)", err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

func rivalCopy() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("kube-proxy-differential-%d", os.Getpid()))
}

// cleanRival removes the copy.
func cleanRival() error {
	if err := os.Remove(rivalCopy()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// run runs a program in a namespace and returns what it wrote to its standard output.
func run(ctx context.Context, in *topology.Netns, name string, arguments ...string) (string, error) {
	printed, err := in.Command(ctx, name, arguments...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("%s %s in %s: %w", name, strings.Join(arguments, " "), in.Name, err)
	}
	return string(printed), nil
}
