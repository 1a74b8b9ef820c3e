package cluster

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/endpointslice"
	endpointsliceutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"
)

// controllerName is what the slices of a cluster's own controller carry as their manager, and mostEndpoints is how many
// it puts into each by default.
const (
	controllerName = "endpointslice-controller.k8s.io"
	mostEndpoints  = 100
)

// ControlSlices writes the EndpointSlices that the Pod objects of the Service's selector call for, by the code of
// Kubernetes' own EndpointSlice controller (k8s.io/endpointslice). It is one pass: a test asks for one after each change.
func (s *Service) ControlSlices(t testing.TB) {
	t.Helper()
	client, ctx := s.cluster.env.client, t.Context()
	nodes := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	known, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatalf("list the Nodes: %v", err)
	}
	for i := range known.Items {
		if err := nodes.Add(&known.Items[i]); err != nil {
			t.Fatal(err)
		}
	}
	pods, err := client.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.FormatLabels(s.Spec.Selector)})
	if err != nil {
		t.Fatalf("list the pods of Service %s: %v", s.Name, err)
	}
	slices, err := client.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, s.ofController())
	if err != nil {
		t.Fatalf("list the EndpointSlices of Service %s: %v", s.Name, err)
	}
	reconciler := endpointslice.NewReconciler(client, corelisters.NewNodeLister(nodes), mostEndpoints,
		endpointsliceutil.NewEndpointSliceTracker(), nil, &record.FakeRecorder{}, controllerName)
	// The controller's code has no context of the caller's.
	if err := reconciler.Reconcile(klog.Background(), s.Service, pointers(pods.Items), pointers(slices.Items), time.Now()); err != nil {
		t.Fatalf("reconcile the EndpointSlices of Service %s: %v", s.Name, err)
	}
	if s.controlled {
		return
	}
	s.controlled = true
	s.cluster.cleanup(t, "EndpointSlices of Service "+s.Name, func(ctx context.Context) error {
		return client.DiscoveryV1().EndpointSlices(s.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, s.ofController())
	})
}

// ofController selects the Service's slices of the controller.
func (s *Service) ofController() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: labels.FormatLabels(map[string]string{
		discoveryv1.LabelServiceName: s.Name, discoveryv1.LabelManagedBy: controllerName,
	})}
}

func pointers[T any](items []T) []*T {
	var out []*T
	for i := range items {
		out = append(out, &items[i])
	}
	return out
}

// Selecting gives a Service a selector.
func Selecting(labels map[string]string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Selector = labels }
}
