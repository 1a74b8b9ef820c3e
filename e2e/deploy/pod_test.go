package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// accountPath is where a Pod finds the token of its ServiceAccount.
const accountPath = "/var/run/secrets/kubernetes.io/serviceaccount"

// criticalOOMScoreAdj is what the kubelet gives to the containers of critical Pods.
const criticalOOMScoreAdj = -997

// pod is a Pod of the DaemonSet on the cluster's first node.
type pod struct {
	cluster *cluster.Cluster
	spec    corev1.PodSpec
	volumes map[string]string // where volumes are on this machine
	account string            // directory of the ServiceAccount's token
}

// newPod makes one, with the files of its ConfigMap and its account's token. It does not run yet.
func newPod(t *testing.T, c *cluster.Cluster, set *appsv1.DaemonSet, config map[string]string, token string) *pod {
	t.Helper()
	p := &pod{cluster: c, spec: *set.Spec.Template.Spec.DeepCopy(), volumes: map[string]string{}}
	for _, v := range p.spec.Volumes {
		place := filepath.Join(t.TempDir(), v.Name)
		switch {
		case v.ConfigMap != nil:
			writeFiles(t, place, config)
		case v.HostPath != nil && ptr.Deref(v.HostPath.Type, "") == corev1.HostPathFileOrCreate:
			// One for each node, where nodes are namespaces.
			if err := os.WriteFile(place, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("volume %s is of a kind that this test does not know", v.Name)
		}
		p.volumes[v.Name] = place
	}
	p.account = filepath.Join(t.TempDir(), "account")
	writeFiles(t, p.account, map[string]string{"token": token, "ca.crt": authority(t), "namespace": set.Namespace})
	return p
}

func writeFiles(t *testing.T, directory string, files map[string]string) {
	t.Helper()
	if err := os.Mkdir(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// containerOf translates a container of the Pod.
func (p *pod) containerOf(t *testing.T, from corev1.Container) container {
	t.Helper()
	node := p.cluster.NodeName(p.cluster.Node)
	locked := ptr.Deref(from.SecurityContext, corev1.SecurityContext{})
	c := container{
		Scratch:      t.TempDir(),
		Image:        image(t),
		Volumes:      []volume{{p.account, accountPath, true}},
		Privileged:   ptr.Deref(locked.Privileged, false),
		ReadOnlyRoot: ptr.Deref(locked.ReadOnlyRootFilesystem, false),
		NoNewPrivs:   !ptr.Deref(locked.AllowPrivilegeEscalation, true),
		Command:      append([]string{entrypoint}, from.Command...),
		Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	if p.spec.PriorityClassName == "system-node-critical" {
		c.OOMScoreAdj = criticalOOMScoreAdj
	}
	for _, mount := range from.VolumeMounts {
		c.Volumes = append(c.Volumes, volume{p.volumes[mount.Name], path.Join(mount.MountPath, mount.SubPath), mount.ReadOnly})
	}
	for _, variable := range from.Env {
		if variable.ValueFrom == nil || variable.ValueFrom.FieldRef.FieldPath != "spec.nodeName" {
			t.Fatalf("variable %s is of a kind that this test does not know", variable.Name)
		}
		c.Env = append(c.Env, variable.Name+"="+node)
		for _, argument := range from.Args {
			c.Command = append(c.Command, strings.ReplaceAll(argument, "$("+variable.Name+")", node))
		}
	}
	if locked.Capabilities == nil || !slices.Contains(locked.Capabilities.Drop, "ALL") {
		if !c.Privileged {
			t.Fatalf("container %s keeps a runtime's usual capabilities, which this test does not know", from.Name)
		}
		return c
	}
	for _, capability := range locked.Capabilities.Add {
		c.Capabilities = append(c.Capabilities, string(capability))
	}
	return c
}

// image is the root directory of an image, if KUBE_IPVS_PROXY_IMAGE names one, or else the daemon's program.
func image(t *testing.T) string {
	t.Helper()
	for _, place := range []string{os.Getenv("KUBE_IPVS_PROXY_IMAGE"), os.Getenv("KUBE_IPVS_PROXY_BINARY"), "../../.cache/bin/kube-ipvs-proxy"} {
		if place == "" {
			continue
		}
		absolute, err := filepath.Abs(place)
		if err != nil {
			t.Fatal(err)
		}
		return absolute
	}
	return "" // not reached: the last place is not empty
}

// process is a container while and after it runs.
type process struct {
	*pod
	output  topology.Output
	command *topology.Cmd
	gone    chan struct{} // closed at its end
	err     error         // how it ended, then
}

// start runs a container on the node, without waiting for anything.
func (p *pod) start(t *testing.T, c container) *process {
	t.Helper()
	spec, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := &process{pod: p, gone: make(chan struct{})}
	run.command = p.cluster.Node.Command(context.WithoutCancel(t.Context()), self)
	run.command.Env = append(os.Environ(), containerVariable+"="+string(spec))
	run.command.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS
	run.command.Stdout, run.command.Stderr = &run.output, &run.output
	if err := run.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { run.err = run.command.Wait(); close(run.gone) }()
	t.Cleanup(func() {
		_ = run.command.Process.Kill() // it may have ended
		<-run.gone
		if t.Failed() {
			t.Logf("%q wrote:\n%s", c.Command, run.output.Tail())
		}
	})
	return run
}

// initialise runs the Pod's init containers to their end.
func (p *pod) initialise(t *testing.T) {
	t.Helper()
	for _, from := range p.spec.InitContainers {
		run := p.start(t, p.containerOf(t, from))
		if status := run.status(t); status != 0 {
			t.Fatalf("init container %s ended with status %d:\n%s", from.Name, status, run.output.Tail())
		}
	}
}

// daemon is the Pod's container, to be started.
func (p *pod) daemon(t *testing.T) container {
	t.Helper()
	return p.containerOf(t, p.spec.Containers[0])
}

// status waits for the end and returns the exit status.
func (r *process) status(t *testing.T) int {
	t.Helper()
	cluster.Await(t, "the container's end", func() error {
		if !r.ended() {
			return errors.New("it still runs")
		}
		return nil
	})
	var exit *exec.ExitError
	if errors.As(r.err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

func (r *process) ended() bool {
	select {
	case <-r.gone:
		return true
	default:
		return false
	}
}

// says waits until the container has written each of the texts.
func (r *process) says(t *testing.T, texts ...string) {
	t.Helper()
	cluster.AwaitFor(t, patience, "the daemon's words", func() error {
		ended := r.ended()
		for _, text := range texts {
			if strings.Contains(r.text(), text) {
				continue
			}
			if ended {
				t.Fatalf("it ended (%v) without having said %q", r.err, text)
			}
			return fmt.Errorf("it has not said %q", text)
		}
		return nil
	})
}

// text is what it has written, with plain quotes where the log escapes them.
func (r *process) text() string { return strings.ReplaceAll(r.output.String(), `\"`, `"`) }

// stop asks the daemon to end, which it has to do in good order.
func (r *process) stop(t *testing.T) {
	t.Helper()
	if err := r.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := r.status(t); status != 0 {
		t.Errorf("it ended with status %d (%v)", status, r.err)
	}
}
