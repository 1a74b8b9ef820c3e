package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/topology"
)

// TargetPort is where pods of AddServer listen, on every protocol and family.
const TargetPort = 8080

// cleanupTimeout bounds the removal of a test's objects.
const cleanupTimeout = 2 * time.Minute

// Cluster is one test's cluster. It is gone when the test ends.
type Cluster struct {
	*topology.Topology
	// Namespace holds the test's API objects; its name is unique in the run.
	Namespace string
	// API carries connections from the first node to the API server.
	API *topology.Forwarder

	env environment
}

// New builds the network and the Node objects of its two nodes, and lets the client outside reach external and
// load-balancer IPs by way of the first node. It fails or skips the test if the run lacks something (see the package comment).
func New(t testing.TB, options topology.Options) *Cluster {
	t.Helper()
	env := require(t)
	c := &Cluster{env: env, Topology: topology.New(t, options)}
	c.addNamespace(t)
	c.addNode(t, c.Node)
	c.addNode(t, c.Node2)
	for _, routed := range externalRanges() {
		c.Client.RouteVia(t, routed, c.Node)
	}
	c.API = c.Node.ForwardTCP(t, env.port)
	return c
}

// NodeName is the name of a node's Node object.
func (c *Cluster) NodeName(host *topology.Host) string { return c.Namespace + "-" + host.Name }

// Zone is the zone that a node is in until MoveNode: each has its own.
func Zone(host *topology.Host) string { return "zone-of-" + host.Name }

// MoveNode puts a node into another zone.
func (c *Cluster) MoveNode(t testing.TB, host *topology.Host, zone string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, corev1.LabelTopologyZone, zone)
	nodes := c.env.client.CoreV1().Nodes()
	if _, err := nodes.Patch(t.Context(), c.NodeName(host), types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatalf("move node %s to zone %s: %v", c.NodeName(host), zone, err)
	}
}

// AddServer adds a pod that serves on [TargetPort].
func (c *Cluster) AddServer(t testing.TB, on *topology.Host, name string) *topology.Pod {
	t.Helper()
	pod := on.AddPod(t, name)
	backend.StartAll(t, pod.Netns, TargetPort, topology.Protocols()...)
	return pod
}

func (c *Cluster) addNamespace(t testing.TB) {
	t.Helper()
	namespaces := c.env.client.CoreV1().Namespaces()
	made, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create a namespace: %v", err)
	}
	c.Namespace = made.Name
	c.cleanup(t, "namespace "+c.Namespace, func(ctx context.Context) error {
		if err := namespaces.Delete(ctx, c.Namespace, metav1.DeleteOptions{}); err != nil {
			return err
		}
		left, err := namespaces.Get(ctx, c.Namespace, metav1.GetOptions{})
		if err != nil {
			return err
		}
		// There is no namespace controller that would let go of it.
		left.Spec.Finalizers = nil
		_, err = namespaces.Finalize(ctx, left, metav1.UpdateOptions{})
		return err
	})
}

func (c *Cluster) addNode(t testing.TB, host *topology.Host) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.NodeName(host), Labels: map[string]string{corev1.LabelTopologyZone: Zone(host)}}}
	for _, family := range topology.Families() {
		node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, host.PodSubnet(family).String())
		node.Status.Addresses = append(node.Status.Addresses,
			corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: host.Address(family).String()})
	}
	node.Spec.PodCIDR = node.Spec.PodCIDRs[0]
	nodes := c.env.client.CoreV1().Nodes()
	if _, err := nodes.Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create node %s: %v", node.Name, err)
	}
	c.cleanup(t, "node "+node.Name, func(ctx context.Context) error {
		return nodes.Delete(ctx, node.Name, metav1.DeleteOptions{})
	})
}

// AddNodeAddress gives a node another address, on its uplink and in its Node object.
func (c *Cluster) AddNodeAddress(t testing.TB, host *topology.Host, addr netip.Addr) {
	t.Helper()
	host.AddAddress(t, netip.PrefixFrom(addr, addr.BitLen()))
	nodes := c.env.client.CoreV1().Nodes()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error { // another test may move the node
		node, err := nodes.Get(t.Context(), c.NodeName(host), metav1.GetOptions{})
		if err != nil {
			return err
		}
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr.String()})
		_, err = nodes.UpdateStatus(t.Context(), node, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Fatalf("add an address to node %s: %v", c.NodeName(host), err)
	}
}

// cleanup removes an object when the test ends, in the reverse order of creation.
func (c *Cluster) cleanup(t testing.TB, what string, remove func(context.Context) error) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout) // the test's own has ended
		defer cancel()
		if err := remove(ctx); err != nil {
			t.Errorf("remove %s: %v", what, err)
		}
	})
}

// Run runs a program in a namespace and returns what it printed. It fails the test if the program fails.
func Run(t testing.TB, in *topology.Netns, command ...string) string {
	t.Helper()
	output, err := in.Command(t.Context(), command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s in %s: %v\n%s", strings.Join(command, " "), in.Name, err, output)
	}
	return string(output)
}

// Patience is how long Await waits: far longer than anything takes, for emulated machines that run several tests.
const Patience = 2 * time.Minute

// interval is the pause between two tries of Await.
const interval = 50 * time.Millisecond

// Await tries again until try returns nil, and fails the test with its last error after [Patience].
func Await(t testing.TB, what string, try func() error) {
	t.Helper()
	AwaitFor(t, Patience, what, try)
}

// AwaitFor is Await with a patience of its own, for what takes its time by intention.
func AwaitFor(t testing.TB, patience time.Duration, what string, try func() error) {
	t.Helper()
	if err := Try(t.Context(), patience, interval, try); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Try calls try, with a pause in between, until it returns nil or patience is at its end; then it returns the last error.
func Try(ctx context.Context, patience, pause time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", patience, err)
		case <-ticker.C:
		}
	}
}
