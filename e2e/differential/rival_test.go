package differential

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
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
	*cluster.KubeProxy // nil until start
	on                 *topology.Host
	node               string // name of its Node object
}

// start starts kube-proxy anew. That it is at work shows only in the kernel.
func (r *rival) start(t *testing.T, settings Settings) {
	t.Helper()
	r.KubeProxy = cluster.StartKubeProxy(t, r.on,
		fmt.Sprintf(rivalConfig, os.Getenv("KUBECONFIG"), r.node, quoted(settings.NodePortAddresses), settings.Scheduler))
}

// pause and resume let it stand still in between, if it runs.
func (r *rival) pause() { r.signal(syscall.SIGSTOP) }

func (r *rival) resume() { r.signal(syscall.SIGCONT) }

func (r *rival) signal(which syscall.Signal) {
	if r.KubeProxy != nil {
		r.Signal(which)
	}
}

// idle says whether a sync is going on, by what kube-proxy logs at the beginning and the end of each.
func (r *rival) idle() error {
	begun, ended := strings.Count(r.Output.String(), "Syncing ipvs proxier rules"), strings.Count(r.Output.String(), "syncProxyRules complete")
	if begun == 0 || begun > ended {
		return fmt.Errorf("%d syncs have begun and %d ended", begun, ended)
	}
	return nil
}

// zoned counts how often kube-proxy has been told of the node's zone.
func (r *rival) zoned() int {
	return strings.Count(r.Output.String(), "Updated proxier node topology labels")
}

func quoted(list []string) string {
	var out []string
	for _, item := range list {
		out = append(out, fmt.Sprintf("%q", item))
	}
	return strings.Join(out, ", ")
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
