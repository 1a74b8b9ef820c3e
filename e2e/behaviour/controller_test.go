package behaviour

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// controlled is a Service whose slices are Kubernetes' own controller's, for pods with an app and a sidecar.
type controlled struct {
	*scene
	service *cluster.Service
	near    *cluster.PodObject
	far     *cluster.PodObject
	app     *cluster.Service // the Service, as far as the app's port goes
	sidecar *cluster.Service // and the sidecar's
}

// The number of the sidecar's ports differs from pod to pod. That of the container which sets up serves no Service.
const (
	sidecarNear, sidecarFar, setupPort = 9111, 9112, 9113
	sidecarPort                        = 81
)

// Ports of a sidecar, an init container that goes on running, are served as those of an app are, and those of an init
// container that ends are not; publishNotReadyAddresses counts for pods that are not ready and for those that terminate.
// What the slices say of all this is not the test's opinion: the controller's own code writes them, for Pod objects.
func TestB11_B22_SlicesOfTheController(t *testing.T) {
	t.Parallel()
	c := newControlled(t, sharedScene(t))
	all := c.questions(cluster.Ways(cluster.ClusterIP, cluster.NodePort))
	setReady := func(pod *cluster.PodObject, ready bool) func() { return func() { pod.SetReady(t, ready) } }
	publish := func(yes bool) func() {
		return func() {
			c.service.Update(t, func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = yes })
		}
	}
	for _, step := range []struct {
		when   string
		change func()
		near   bool
		far    bool
	}{
		{"both ready", func() { c.near.SetReady(t, true); c.far.SetReady(t, true) }, true, true},
		{"near unready", setReady(c.near, false), false, true},
		{"near unready and published", publish(true), true, true},
		{"near terminating, unready and published", func() { c.near.Terminate(t) }, true, true},
		{"published no more", publish(false), false, true},
		{"near terminating and still answering", setReady(c.near, true), false, true},
		{"the ready one unready", setReady(c.far, false), true, false},
		{"published again", publish(true), true, true},
		{"near gone", func() { c.near.Remove(t) }, false, true},
	} {
		step.change()
		c.service.ControlSlices(t)
		c.Settle(t)
		servedBy(t, step.when, c.app, all, served(step.near, "near", step.far, "far")...)
		servedBy(t, step.when, c.sidecar, all, served(step.near, fmt.Sprintf("near:%d", sidecarNear), step.far, fmt.Sprintf("far:%d", sidecarFar))...)
		for _, family := range topology.Families() {
			refused(t, c.client.Netns, probe.To(topology.TCP, c.service.Address(cluster.ClusterIP, family), setupPort))
		}
	}
}

func served(near bool, nearName string, far bool, farName string) []string {
	var names []string
	if near {
		names = append(names, nearName)
	}
	if far {
		names = append(names, farName)
	}
	return names
}

func newControlled(t *testing.T, s *scene) *controlled {
	near, far := s.addServer(t, s.Node, "near"), s.addServer(t, s.Node2, "far")
	backend.StartAll(t, near.Netns, sidecarNear, topology.Protocols()...)
	backend.StartAll(t, far.Netns, sidecarFar, topology.Protocols()...)
	for _, pod := range []*topology.Pod{near, far} {
		backend.StartAll(t, pod.Netns, setupPort, topology.TCP)
	}
	labels := map[string]string{"app": "controlled"}
	var ports []corev1.ServicePort
	add := func(name string, number int32, protocol topology.Protocol) {
		port := portOf(portName(name, protocol), protocol, number, 0)
		port.TargetPort = intstr.FromString(port.Name)
		ports = append(ports, port)
	}
	for _, protocol := range topology.Protocols() {
		add("app", cluster.ServicePort, protocol)
		add("side", sidecarPort, protocol)
	}
	add("setup", setupPort, topology.TCP)
	c := &controlled{scene: s}
	c.service = s.AddService(t, "controlled", cluster.Type(corev1.ServiceTypeNodePort), cluster.Selecting(labels),
		func(service *corev1.Service) { service.Spec.Ports = ports })
	c.near = s.AddPodObject(t, near, labels, withSidecar(sidecarNear))
	c.far = s.AddPodObject(t, far, labels, withSidecar(sidecarFar))
	c.app, c.sidecar = portsOf(c.service, "app"), portsOf(c.service, "side")
	return c
}

func portName(name string, protocol topology.Protocol) string {
	return name + "-" + strings.ToLower(string(protocol))
}

// withSidecar is a pod that is set up by a container that ends, and has a sidecar at a port.
func withSidecar(port int32) corev1.PodSpec {
	always := corev1.ContainerRestartPolicyAlways
	return corev1.PodSpec{
		InitContainers: []corev1.Container{
			{Name: "setup", Image: "none", Ports: []corev1.ContainerPort{{Name: portName("setup", topology.TCP), ContainerPort: setupPort, Protocol: corev1.ProtocolTCP}}},
			{Name: "sidecar", Image: "none", RestartPolicy: &always, Ports: containerPorts("side", port)},
		},
		Containers: []corev1.Container{{Name: "app", Image: "none", Ports: containerPorts("app", cluster.TargetPort)}},
	}
}

func containerPorts(name string, number int32) []corev1.ContainerPort {
	var ports []corev1.ContainerPort
	for _, protocol := range topology.Protocols() {
		ports = append(ports, corev1.ContainerPort{Name: portName(name, protocol), ContainerPort: number, Protocol: corev1.Protocol(protocol)})
	}
	return ports
}

// portsOf is a Service as one that had the ports of a name only, to ask those.
func portsOf(service *cluster.Service, name string) *cluster.Service {
	part := *service
	part.Service = service.DeepCopy()
	part.Spec.Ports = nil
	for _, port := range service.Spec.Ports {
		if strings.HasPrefix(port.Name, name+"-") {
			part.Spec.Ports = append(part.Spec.Ports, port)
		}
	}
	return &part
}
