package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
)

// clientset is client-go's API server in memory.
type clientset struct{ *fake.Clientset }

func (c clientset) List(ctx context.Context, plural string, o metav1.ListOptions) (runtime.Object, error) {
	switch plural {
	case servicesPlural:
		return c.CoreV1().Services("").List(ctx, o)
	case slicesPlural:
		return c.DiscoveryV1().EndpointSlices("").List(ctx, o)
	case nodesPlural:
		return c.CoreV1().Nodes().List(ctx, o)
	}
	return nil, fmt.Errorf("a list of %s", plural)
}

func (c clientset) Watch(ctx context.Context, plural string, o metav1.ListOptions) (watch.Interface, error) {
	switch plural {
	case servicesPlural:
		return c.CoreV1().Services("").Watch(ctx, o)
	case slicesPlural:
		return c.DiscoveryV1().EndpointSlices("").Watch(ctx, o)
	case nodesPlural:
		return c.CoreV1().Nodes().Watch(ctx, o)
	}
	return nil, fmt.Errorf("a watch of %s", plural)
}
