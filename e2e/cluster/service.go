package cluster

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"

	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// ServicePort is the number of a Service's ports unless a test chooses others.
const ServicePort = 80

// Service is a Service of the API server, as of the last write by the test.
type Service struct {
	*corev1.Service
	cluster    *Cluster
	slices     []string // names of those EndpointSlices that the test writes
	controlled bool     // others are the EndpointSlice controller's
}

// AddService creates a Service of type ClusterIP with both families and, on [ServicePort], all protocols, unless
// changes make it another one. Its name begins with the given one and is unique. It has no endpoints yet.
func (c *Cluster) AddService(t testing.TB, name string, changes ...func(*corev1.Service)) *Service {
	t.Helper()
	policy := corev1.IPFamilyPolicyRequireDualStack
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-", Namespace: c.Namespace},
		Spec: corev1.ServiceSpec{IPFamilyPolicy: &policy, Ports: Ports(ServicePort, topology.Protocols()...),
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}},
	}
	for _, change := range changes {
		change(service)
	}
	return c.Create(t, service)
}

// Create sends a Service to the API server, into the test's namespace, as it is.
func (c *Cluster) Create(t testing.TB, service *corev1.Service) *Service {
	t.Helper()
	service.Namespace = c.Namespace
	services := c.env.client.CoreV1().Services(c.Namespace)
	made, err := services.Create(t.Context(), service, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create Service %s%s: %v", service.GenerateName, service.Name, err)
	}
	c.cleanup(t, "Service "+made.Name, func(ctx context.Context) error {
		err := services.Delete(ctx, made.Name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	return &Service{Service: made, cluster: c}
}

// Number makes a Service one of type NodePort, or leaves it one of type LoadBalancer, whose ports all have a NodePort of this
// number. Those below 30086 the API server gives to nobody unasked as long as it has others: one that a Service gives up is
// nobody's then, while any other may be the next test's at once.
func Number(nodePort int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
			s.Spec.Type = corev1.ServiceTypeNodePort
		}
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = nodePort
		}
	}
}

// Ports returns a port of a number for each protocol, all leading to [TargetPort].
func Ports(number uint16, protocols ...topology.Protocol) []corev1.ServicePort {
	var ports []corev1.ServicePort
	for _, protocol := range protocols {
		ports = append(ports, corev1.ServicePort{Name: portName(protocol), Protocol: corev1.Protocol(protocol),
			Port: int32(number), TargetPort: intstr.FromInt32(TargetPort)})
	}
	return ports
}

// Type makes a Service one of a type.
func Type(kind corev1.ServiceType) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Type = kind }
}

// Update changes the Service.
func (s *Service) Update(t testing.TB, change func(*corev1.Service)) {
	t.Helper()
	services := s.cluster.env.client.CoreV1().Services(s.Namespace)
	s.write(t, change, func(ctx context.Context, changed *corev1.Service) (*corev1.Service, error) {
		return services.Update(ctx, changed, metav1.UpdateOptions{})
	})
}

// UpdateStatus changes the Service's status, as a cloud provider's controller or MetalLB does.
func (s *Service) UpdateStatus(t testing.TB, change func(*corev1.ServiceStatus)) {
	t.Helper()
	services := s.cluster.env.client.CoreV1().Services(s.Namespace)
	s.write(t, func(c *corev1.Service) { change(&c.Status) }, func(ctx context.Context, changed *corev1.Service) (*corev1.Service, error) {
		return services.UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	})
}

// write changes the present object, again if somebody else changed it meanwhile.
func (s *Service) write(t testing.TB, change func(*corev1.Service), put func(context.Context, *corev1.Service) (*corev1.Service, error)) {
	t.Helper()
	services := s.cluster.env.client.CoreV1().Services(s.Namespace)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		present, err := services.Get(t.Context(), s.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(present)
		written, err := put(t.Context(), present)
		if err == nil {
			s.Service = written
		}
		return err
	})
	if err != nil {
		t.Fatalf("update Service %s: %v", s.Name, err)
	}
}

// Delete removes the Service. Its slices stay, as they would for a moment.
func (s *Service) Delete(t testing.TB) {
	t.Helper()
	if err := s.cluster.env.client.CoreV1().Services(s.Namespace).Delete(t.Context(), s.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("delete Service %s: %v", s.Name, err)
	}
}

// Expose gives the Service every [Kind] of address: NodePorts, an external IP and a load-balancer IP of each family.
func (s *Service) Expose(t testing.TB) {
	t.Helper()
	s.Update(t, func(c *corev1.Service) {
		c.Spec.Type = corev1.ServiceTypeLoadBalancer
		for _, family := range families(c) {
			c.Spec.ExternalIPs = append(c.Spec.ExternalIPs, s.Address(ExternalIP, family).String())
		}
	})
	s.UpdateStatus(t, func(status *corev1.ServiceStatus) {
		status.LoadBalancer.Ingress = nil
		for _, family := range families(s.Service) {
			status.LoadBalancer.Ingress = append(status.LoadBalancer.Ingress,
				corev1.LoadBalancerIngress{IP: s.Address(LoadBalancerIP, family).String()})
		}
	})
}

func families(s *corev1.Service) []topology.Family {
	var out []topology.Family
	for _, family := range s.Spec.IPFamilies {
		out = append(out, topology.Family(family))
	}
	return out
}

// Address returns the address by which the Service is reached, or the one that Expose gives it: for NodePort, that of the first
// node. It is not valid if the Service has no ClusterIP of the family.
func (s *Service) Address(kind Kind, family topology.Family) netip.Addr {
	if kind == NodePort {
		return s.cluster.Node.Address(family)
	}
	i := slices.Index(families(s.Service), family)
	if i < 0 || i >= len(s.Spec.ClusterIPs) {
		return netip.Addr{}
	}
	clusterIP, err := netip.ParseAddr(s.Spec.ClusterIPs[i])
	if err != nil || kind == ClusterIP {
		return clusterIP
	}
	return derive(kind, clusterIP)
}

// patient is how long a question may take. Emulated machines stand still for seconds now and then.
const patient = 30 * time.Second

// Target is where a question to the Service goes. The port is the first of the protocol; 0 if there is none. It has time
// enough for emulated machines.
func (s *Service) Target(way Way) probe.Target {
	var number int32
	for _, port := range s.Spec.Ports {
		if port.Protocol != corev1.Protocol(way.Protocol) {
			continue
		}
		if number = port.Port; way.Kind == NodePort {
			number = port.NodePort
		}
		break
	}
	target := probe.To(way.Protocol, s.Address(way.Kind, way.Family), uint16(number))
	target.Timeout = patient
	return target
}
