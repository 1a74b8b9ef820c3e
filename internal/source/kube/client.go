package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// The resources that are read, as the API server names them.
const (
	servicesPlural = "services"
	slicesPlural   = "endpointslices"
	nodesPlural    = "nodes"
	eventsPlural   = "events"
)

// API reads objects of all namespaces, by the plural name of their resource.
type API interface {
	// List returns a list of the resource's kind.
	List(ctx context.Context, plural string, options metav1.ListOptions) (runtime.Object, error)
	// Watch delivers changes until it is stopped or the server ends it.
	Watch(ctx context.Context, plural string, options metav1.ListOptions) (watch.Interface, error)
}

// Client speaks with the API server about the few kinds that the proxy deals with. The clientset of client-go knows all that
// there are, which costs memory and a good part of the time that a process takes to start.
type Client struct {
	core, discovery, events rest.Interface
	parameters              runtime.ParameterCodec
}

var _ API = (*Client)(nil)

// NewClient returns a client with the given settings. It sends nothing.
func NewClient(settings *rest.Config) (*Client, error) {
	known := runtime.NewScheme()
	err := errors.Join(corev1.AddToScheme(known), discoveryv1.AddToScheme(known), eventsv1.AddToScheme(known))
	if err != nil {
		return nil, fmt.Errorf("register kinds of the API: %w", err)
	}
	metav1.AddToGroupVersion(known, schema.GroupVersion{Version: "v1"}) // for the server's errors
	shared := rest.CopyConfig(settings)
	shared.NegotiatedSerializer = serializer.NewCodecFactory(known).WithoutConversion()
	if shared.RateLimiter == nil && shared.QPS > 0 {
		if shared.Burst <= 0 {
			return nil, fmt.Errorf("a limit of %v requests per second needs a burst above 0; set clientConnection.burst", shared.QPS)
		}
		shared.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(shared.QPS, shared.Burst) // one for all three
	}
	transport, err := rest.HTTPClientFor(shared)
	if err != nil {
		return nil, fmt.Errorf("make a transport to the API server: %w", err)
	}
	c := &Client{parameters: runtime.NewParameterCodec(known)}
	for _, group := range []struct {
		client  *rest.Interface
		path    string
		version schema.GroupVersion
	}{
		{&c.core, "/api", corev1.SchemeGroupVersion},
		{&c.discovery, "/apis", discoveryv1.SchemeGroupVersion},
		{&c.events, "/apis", eventsv1.SchemeGroupVersion},
	} {
		shared.APIPath, shared.GroupVersion = group.path, &group.version
		if *group.client, err = rest.RESTClientForConfigAndClient(shared, transport); err != nil {
			return nil, fmt.Errorf("make a client for %s: %w", group.version, err)
		}
	}
	return c, nil
}

// request begins to ask for a resource.
func (c *Client) request(plural string, options metav1.ListOptions) *rest.Request {
	client := c.core
	if plural == slicesPlural {
		client = c.discovery
	}
	r := client.Get().Resource(plural).VersionedParams(&options, c.parameters)
	if options.TimeoutSeconds != nil {
		r = r.Timeout(time.Duration(*options.TimeoutSeconds) * time.Second)
	}
	return r
}

// List implements API.
func (c *Client) List(ctx context.Context, plural string, options metav1.ListOptions) (runtime.Object, error) {
	return c.request(plural, options).Do(ctx).Get()
}

// Watch implements API.
func (c *Client) Watch(ctx context.Context, plural string, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	return c.request(plural, options).Watch(ctx)
}

// CreateEvent creates an Event in its namespace.
func (c *Client) CreateEvent(ctx context.Context, event *eventsv1.Event) error {
	return c.events.Post().Namespace(event.Namespace).Resource(eventsPlural).
		VersionedParams(&metav1.CreateOptions{}, c.parameters).Body(event).Do(ctx).Error()
}

// Greet opens the connection that later requests share. The server's version, which everybody may read, is of no interest.
func (c *Client) Greet(ctx context.Context) error {
	return c.core.Get().AbsPath("/version").Do(ctx).Error()
}
