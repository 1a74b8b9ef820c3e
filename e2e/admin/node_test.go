package admin

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

// The exit statuses that are told apart.
const (
	equal     = 0
	different = 1
	unknown   = 2
	noService = 1
	taken     = 6
	rival     = 7
)

// objects have one of everything: protocols, families, affinity, marks, ranges, and addresses that ipvsadm sorts in a circle.
const objects = `
{kind: Node, apiVersion: v1, metadata: {name: node-1}, spec: {podCIDRs: [10.244.1.0/24]}}
---
{kind: Service, apiVersion: v1, metadata: {name: web}, spec: {clusterIPs: [10.96.0.80, "fd00:96::80"], type: LoadBalancer,
  externalIPs: [100.64.0.1, 203.0.113.1, 172.30.0.1, "2001:db8::1", "8001::1"], loadBalancerSourceRanges: [192.0.2.0/24],
  ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 443}, {name: c, port: 80, protocol: UDP}, {name: d, port: 80, protocol: SCTP}]},
  status: {loadBalancer: {ingress: [{ip: 198.51.100.7}]}}}
---
{kind: Service, apiVersion: v1, metadata: {name: local}, spec: {clusterIPs: [10.96.0.81], type: NodePort, externalTrafficPolicy: Local,
  sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}, externalIPs: [203.0.113.2],
  ports: [{name: a, port: 80, nodePort: 30081}]}}
---
{kind: Service, apiVersion: v1, metadata: {name: idle}, spec: {clusterIPs: [10.96.0.82], ports: [{name: a, port: 80}]}}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, metadata: {name: web-4, labels: {kubernetes.io/service-name: web}},
  addressType: IPv4, ports: [{name: a, port: 8080}, {name: b, port: 8443}, {name: c, port: 8080, protocol: UDP}, {name: d, port: 8080, protocol: SCTP}],
  endpoints: [{addresses: [10.244.1.2], nodeName: node-1}, {addresses: [172.16.0.2]}, {addresses: [10.244.1.3], nodeName: node-1},
    {addresses: [100.100.0.2]}, {addresses: [192.168.0.2]}, {addresses: [10.244.2.2]}]}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, metadata: {name: web-6, labels: {kubernetes.io/service-name: web}},
  addressType: IPv6, ports: [{name: a, port: 8080}, {name: b, port: 8443}, {name: c, port: 8080, protocol: UDP}, {name: d, port: 8080, protocol: SCTP}],
  endpoints: [{addresses: ["fd00:10:244:1::3"]}, {addresses: ["fd00:10:244:1::2"]}]}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, metadata: {name: local, labels: {kubernetes.io/service-name: local}},
  addressType: IPv4, ports: [{name: a, port: 8080}],
  endpoints: [{addresses: [10.244.1.2], nodeName: node-1}, {addresses: [10.244.2.2], nodeName: node-2}]}
`

// served is the line of the log from which on the manifests are in the kernel.
const served = "every source is complete"

// node is where a test runs the daemon: alone in its network, with a directory of manifests.
type node struct {
	*topology.Host
	manifests, binary string
}

func newNode(t *testing.T) node {
	t.Helper()
	n := node{binary: cluster.Binary(t), manifests: t.TempDir()}
	n.Host = topology.New(t, topology.Options{Pods: topology.Routed}).Node
	if err := os.WriteFile(filepath.Join(n.manifests, "objects.yaml"), []byte(objects), 0o644); err != nil {
		t.Fatal(err)
	}
	return n
}

// flags are the daemon's, of which verify and render take the same.
func (n node) flags() []string {
	return []string{"--manifests=" + n.manifests, "--hostname-override=node-1", "--conntrack-max-per-core=0"}
}

// ask runs a command of the daemon's binary on the node, and returns its exit status and what it printed.
func ask(t *testing.T, in *topology.Netns, binary string, arguments ...string) (status int, printed, errors string) {
	t.Helper()
	var out, complaints topology.Output
	command := in.Command(t.Context(), binary, arguments...)
	command.Stdout, command.Stderr = &out, &complaints
	return statusOf(t, command.Run()), out.String(), complaints.String()
}

func statusOf(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		return exit.ExitCode()
	}
	return 0
}

// verify runs verify on the node, with the daemon's flags.
func (n node) verify(t *testing.T, more ...string) (status int, printed, errors string) {
	t.Helper()
	return ask(t, n.Netns, n.binary, append(append([]string{"verify"}, n.flags()...), more...)...)
}

// verifies checks that verify finds no difference.
func (n node) verifies(t *testing.T, when string) {
	t.Helper()
	if status, printed, errors := n.verify(t); status != equal || printed != "" || errors != "" {
		t.Errorf("%s, verify ends with status %d and prints\n%s%s", when, status, printed, errors)
	}
}

// daemon is kube-ipvs-proxy while and after it runs.
type daemon struct {
	output  topology.Output
	process *topology.Cmd
	gone    chan struct{} // closed at the process's end
	err     error         // how it ended, then
}

// start starts the daemon, which does not audit the kernel and so leaves alone what a test breaks, addresses apart.
func (n node) start(t *testing.T, more ...string) *daemon {
	t.Helper()
	d := &daemon{gone: make(chan struct{})}
	arguments := append(append(n.flags(), "--ipvs-sync-period=1h"), more...)
	d.process = n.Command(context.WithoutCancel(t.Context()), n.binary, arguments...)
	d.process.Stdout, d.process.Stderr = &d.output, &d.output
	if err := d.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.err = d.process.Wait(); close(d.gone) }()
	t.Cleanup(func() {
		_ = d.process.Process.Kill() // it may have ended
		<-d.gone
		if t.Failed() {
			t.Logf("the daemon wrote:\n%s", d.output.Tail())
		}
	})
	return d
}

// serves waits until the daemon has brought the manifests to the kernel.
func (d *daemon) serves(t *testing.T) {
	t.Helper()
	cluster.Await(t, "the daemon's first complete round", func() error {
		select {
		case <-d.gone:
			t.Fatalf("the daemon ended by itself: %v", d.err)
		default:
		}
		if !strings.Contains(d.output.String(), served) {
			return fmt.Errorf("it has not said %q", served)
		}
		return nil
	})
}

// ends waits until the daemon ends, and returns its status and last words.
func (d *daemon) ends(t *testing.T) (status int, words string) {
	t.Helper()
	select {
	case <-d.gone:
	case <-time.After(cluster.Patience):
		t.Fatalf("the daemon still runs after %v", cluster.Patience)
	}
	return statusOf(t, d.err), d.output.String()
}

// stop has the daemon end in good order; kill does not let it.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	if err := d.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status, words := d.ends(t); status != 0 {
		t.Errorf("the daemon ended with status %d: %s", status, words)
	}
}

func (d *daemon) kill(t *testing.T) {
	t.Helper()
	if err := d.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.gone
}
