package differential

import (
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// world writes the objects of cases to the API server and knows which are there.
type world struct {
	client    kubernetes.Interface
	namespace string
	// nodes are the real names of Node1 and Node2.
	nodes    map[string]string
	services map[string]*corev1.Service
	slices   map[string]*discoveryv1.EndpointSlice
}

func newWorld(namespace string, nodes map[string]string) (*world, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, fmt.Errorf("read KUBECONFIG: %w", err)
	}
	config.QPS, config.Burst, config.WarningHandler = 1000, 1000, rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	return &world{client, namespace, nodes, map[string]*corev1.Service{}, map[string]*discoveryv1.EndpointSlice{}}, err
}

// apply makes the writes one after the other.
func (w *world) apply(ctx context.Context, ops []Op) error {
	for _, op := range ops {
		var err error
		switch {
		case op.Service != nil && op.Delete:
			err = w.deleteService(ctx, op.Service.Name)
		case op.Service != nil:
			err = w.putService(ctx, op.Service)
		case op.Delete:
			err = w.deleteSlice(ctx, op.Slice.Name)
		default:
			err = w.putSlice(ctx, op.Slice)
		}
		if err != nil {
			return fmt.Errorf("%w; the object:\n%s", err, op)
		}
	}
	return nil
}

func (w *world) putService(ctx context.Context, wanted *corev1.Service) error {
	services := w.client.CoreV1().Services(w.namespace)
	object := wanted.DeepCopy()
	object.Namespace = w.namespace
	written, err := object, error(nil)
	if present := w.services[object.Name]; present != nil {
		object.ResourceVersion = present.ResourceVersion
		written, err = services.Update(ctx, object, metav1.UpdateOptions{})
	} else {
		written, err = services.Create(ctx, object, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write Service %s: %w", object.Name, err)
	}
	w.services[object.Name] = written
	if written.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	written.Status = *wanted.Status.DeepCopy()
	if written, err = services.UpdateStatus(ctx, written, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("write the status of Service %s: %w", object.Name, err)
	}
	w.services[object.Name] = written
	return nil
}

func (w *world) deleteService(ctx context.Context, name string) error {
	delete(w.services, name)
	return unlessGone(w.client.CoreV1().Services(w.namespace).Delete(ctx, name, metav1.DeleteOptions{}))
}

func (w *world) putSlice(ctx context.Context, wanted *discoveryv1.EndpointSlice) error {
	slices := w.client.DiscoveryV1().EndpointSlices(w.namespace)
	object := wanted.DeepCopy()
	object.Namespace = w.namespace
	for i := range object.Endpoints {
		w.place(&object.Endpoints[i])
	}
	written, err := object, error(nil)
	if present := w.slices[object.Name]; present != nil {
		object.ResourceVersion = present.ResourceVersion
		written, err = slices.Update(ctx, object, metav1.UpdateOptions{})
	} else {
		written, err = slices.Create(ctx, object, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write EndpointSlice %s: %w", object.Name, err)
	}
	w.slices[object.Name] = written
	return nil
}

// place gives the nodes their real names.
func (w *world) place(e *discoveryv1.Endpoint) {
	if e.NodeName != nil {
		name := w.nodes[*e.NodeName]
		e.NodeName = &name
	}
	if e.Hints == nil {
		return
	}
	for i := range e.Hints.ForNodes {
		e.Hints.ForNodes[i].Name = w.nodes[e.Hints.ForNodes[i].Name]
	}
}

func (w *world) deleteSlice(ctx context.Context, name string) error {
	delete(w.slices, name)
	return unlessGone(w.client.DiscoveryV1().EndpointSlices(w.namespace).Delete(ctx, name, metav1.DeleteOptions{}))
}

func unlessGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// clear deletes everything that is there, except what keep names.
func (w *world) clear(ctx context.Context, keep func(name string) bool) error {
	var errs []error
	for name := range w.services {
		if !keep(name) {
			errs = append(errs, w.deleteService(ctx, name))
		}
	}
	for name, slice := range w.slices {
		if !keep(slice.Labels[discoveryv1.LabelServiceName]) {
			errs = append(errs, w.deleteSlice(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// setZone puts the node of the two proxies into a zone.
func (w *world) setZone(ctx context.Context, zone string) error {
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, corev1.LabelTopologyZone, zone)
	_, err := w.client.CoreV1().Nodes().Patch(ctx, w.nodes[Node1], "application/merge-patch+json", []byte(patch), metav1.PatchOptions{})
	return err
}
