package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"kube-ipvs-proxy/internal/service"
)

// What is asked of the API server. An object that stops to match arrives as a delete.
const (
	servicesSelector       = "!service.kubernetes.io/service-proxy-name"
	endpointSlicesSelector = "!" + corev1.IsHeadlessService
	servicesFields         = "spec.clusterIP!=" + corev1.ClusterIPNone
)

// resource is one kind of object that is watched.
type resource struct {
	name     string // what it completes
	plural   string // as RBAC rules name it
	expected runtime.Object
	list     func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch    func(context.Context, metav1.ListOptions) (watch.Interface, error)
	convert  func(any) (*compact, bool)
	remove   func(service.Sink, service.Name)
	absent   *service.Problem // reported while there is not a single object
}

// compact is what is left of an object of the API between its arrival and its delivery.
type compact struct {
	metav1.ObjectMeta // namespace and name only, for the caches of client-go
	object            string
	problems          []service.Problem
	deliver           func(service.Sink) // nil for an object that is not served
}

func newCompact(kind string, meta *metav1.ObjectMeta, problems []service.Problem) *compact {
	object := kind + " " + meta.Name
	if meta.Namespace != "" {
		object = kind + " " + meta.Namespace + "/" + meta.Name
	}
	for i := range problems {
		problems[i].UID = string(meta.UID)
	}
	return &compact{
		ObjectMeta: metav1.ObjectMeta{Namespace: meta.Namespace, Name: meta.Name},
		object:     object,
		problems:   problems,
	}
}

func (c *compact) key() service.Name { return service.Name{Namespace: c.Namespace, Name: c.Name} }

func services(api API) resource {
	narrow := func(o metav1.ListOptions) metav1.ListOptions {
		o.LabelSelector, o.FieldSelector = servicesSelector, servicesFields
		return o
	}
	return resource{
		name: Services, plural: servicesPlural, expected: &corev1.Service{},
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return api.List(ctx, servicesPlural, narrow(o))
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return api.Watch(ctx, servicesPlural, narrow(o))
		},
		convert: func(obj any) (*compact, bool) {
			in, ok := obj.(*corev1.Service)
			if !ok {
				return nil, false
			}
			value, served, problems := service.FromService(in)
			value.UID = string(in.UID)
			out := newCompact("Service", &in.ObjectMeta, problems)
			if served {
				out.deliver = func(sink service.Sink) { sink.SetService(value) }
			}
			return out, true
		},
		remove: service.Sink.DeleteService,
	}
}

func endpointSlices(api API) resource {
	narrow := func(o metav1.ListOptions) metav1.ListOptions {
		o.LabelSelector = endpointSlicesSelector
		return o
	}
	return resource{
		name: EndpointSlices, plural: slicesPlural, expected: &discoveryv1.EndpointSlice{},
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return api.List(ctx, slicesPlural, narrow(o))
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return api.Watch(ctx, slicesPlural, narrow(o))
		},
		convert: func(obj any) (*compact, bool) {
			in, ok := obj.(*discoveryv1.EndpointSlice)
			if !ok {
				return nil, false
			}
			value, served, problems := service.FromSlice(in)
			out := newCompact("EndpointSlice", &in.ObjectMeta, problems)
			if served {
				out.deliver = func(sink service.Sink) { sink.SetSlice(value) }
			}
			return out, true
		},
		remove: service.Sink.DeleteSlice,
	}
}

func ownNode(api API, node string) resource {
	narrow := func(o metav1.ListOptions) metav1.ListOptions {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, node).String()
		return o
	}
	return resource{
		name: OwnNode, plural: nodesPlural, expected: &corev1.Node{},
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return api.List(ctx, nodesPlural, narrow(o))
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return api.Watch(ctx, nodesPlural, narrow(o))
		},
		convert: func(obj any) (*compact, bool) {
			in, ok := obj.(*corev1.Node)
			if !ok {
				return nil, false
			}
			value, problems := service.FromNode(in)
			out := newCompact("Node", &in.ObjectMeta, problems)
			out.deliver = func(sink service.Sink) { sink.SetNode(value) }
			return out, true
		},
		remove: func(sink service.Sink, name service.Name) { sink.DeleteNode(name.Name) },
		absent: &service.Problem{Object: "Node " + node, Reason: fmt.Sprintf("the cluster has no Node %q, so the node's zone, "+
			"addresses and pod ranges are unknown; if the kubelet registers under another name, set --hostname-override to it", node)},
	}
}
