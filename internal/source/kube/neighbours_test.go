package kube

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"kube-ipvs-proxy/internal/service"
)

func nodeWith(name string, addrs ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, addr := range addrs {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr})
	}
	return n
}

func external(name string) service.Service {
	return service.Service{Name: service.Name{Namespace: "default", Name: name},
		VIPs: service.VIPs{External: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
}

// startNeighbours runs the part of a source that looks for the other Nodes.
func startNeighbours(t *testing.T, client *fake.Clientset) (*neighbours, *recorder) {
	sink := &recorder{}
	n := newNeighbours(clientset{client}, "node-1", sink, time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	n.begin(ctx)
	done := make(chan struct{})
	go func() { defer close(done); n.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return n, sink
}

// P18: the other Nodes' addresses are known before the first Service that could name one of them is, and nobody asks for
// them before there is one.
func TestP18OtherNodesAreKnownBeforeTheFirstExternalAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(nodeWith("node-1", "172.18.0.11"), nodeWith("node-2", "172.18.0.12", "fd00::12"))
		n, sink := startNeighbours(t, client)
		n.SetService(service.Service{Name: service.Name{Namespace: "default", Name: "plain"}})
		time.Sleep(3 * time.Hour)
		if log := strings.Join(sink.log(), "\n"); strings.Contains(log, "other nodes") {
			t.Fatalf("asked without need:\n%s", log)
		}
		n.SetService(external("web"))
		log := sink.log()
		nodes, svc := slices.Index(log, "set other nodes [172.18.0.12 fd00::12]"), slices.Index(log, "set service default/web []")
		if nodes < 0 || svc < nodes {
			t.Fatalf("want the other nodes' addresses, then the Service:\n%s", strings.Join(log, "\n"))
		}
	})
}

func TestP18OtherNodesAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(nodeWith("node-2", "172.18.0.12"))
		n, sink := startNeighbours(t, client)
		n.SetService(external("web"))
		if _, err := client.CoreV1().Nodes().Create(t.Context(), nodeWith("node-3", "172.18.0.13"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		if log := sink.log(); !slices.Contains(log, "set other nodes [172.18.0.12 172.18.0.13]") {
			t.Fatalf("the new node is not known after three hours:\n%s", strings.Join(log, "\n"))
		}
	})
}

// A list that fails is reported, holds up the Service no longer than itself, and is tried again soon.
func TestP18FailedListOfNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(nodeWith("node-2", "172.18.0.12"))
		failing := true
		client.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			return failing, nil, errors.New("no route to host")
		})
		n, sink := startNeighbours(t, client)
		n.SetService(external("web"))
		if log := sink.log(); !slices.Contains(log, "report Kubernetes API nodes: 1") || !slices.Contains(log, "set service default/web []") {
			t.Fatalf("want the failure reported and the Service served:\n%s", strings.Join(log, "\n"))
		}
		failing = false
		time.Sleep(time.Minute)
		if log := sink.log(); !slices.Contains(log, "set other nodes [172.18.0.12]") || log[len(log)-1] != "set other nodes [172.18.0.12]" && log[len(log)-2] != "report Kubernetes API nodes: 0" {
			t.Fatalf("want the list tried again and the report cleared:\n%s", strings.Join(log, "\n"))
		}
	})
}
