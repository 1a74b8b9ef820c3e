package service

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs-proxy/internal/dataplane"
)

// portNumber is a port number of one protocol; portName a port name of one protocol.
type portNumber struct {
	protocol dataplane.Protocol
	port     uint16
}
type portName struct {
	protocol dataplane.Protocol
	name     string
}

// portsSeen knows the ports of a Service so far, to find those that say the same twice.
type portsSeen struct {
	numbers, nodePorts map[portNumber]bool
	names              map[portName]bool
}

func (f *findings) servicePorts(in *corev1.Service) []Port {
	if len(in.Spec.Ports) == 0 {
		f.add("spec.ports", "", "no ports, so there is nothing to serve; add at least one")
		return nil
	}
	seen := portsSeen{map[portNumber]bool{}, map[portNumber]bool{}, map[portName]bool{}}
	var out []Port
	for i := range in.Spec.Ports {
		field := fmt.Sprintf("spec.ports[%d]", i)
		if port, ok := f.servicePort(field, &in.Spec.Ports[i], seen); ok {
			port.NodePort = f.nodePort(field+".nodePort", in, in.Spec.Ports[i].NodePort, port.Protocol, seen)
			out = append(out, port)
		}
	}
	return out
}

func (f *findings) servicePort(field string, in *corev1.ServicePort, seen portsSeen) (Port, bool) {
	protocol, protocolOK := f.protocol(field+".protocol", in.Protocol)
	number, numberOK := f.port(field+".port", in.Port)
	if !protocolOK || !numberOK {
		return Port{}, false
	}
	key, name := portNumber{protocol, number}, portName{protocol, in.Name}
	switch {
	case seen.numbers[key]:
		f.add(field+".port", in.Port, "an earlier port has the same number and protocol, and is the one served; remove one of them")
		return Port{}, false
	case seen.names[name]:
		f.add(field+".name", in.Name, "an earlier port has the same name and protocol, and is the one served; give each port its own name")
		return Port{}, false
	}
	seen.numbers[key], seen.names[name] = true, true
	return Port{Name: in.Name, Protocol: protocol, Port: number}, true
}

// nodePort returns the node port of a port, or 0.
func (f *findings) nodePort(field string, in *corev1.Service, value int32, protocol dataplane.Protocol, seen portsSeen) uint16 {
	if value == 0 {
		return 0
	}
	number, ok := f.port(field, value)
	key := portNumber{protocol, number}
	switch {
	case !ok:
		return 0
	case in.Spec.Type != corev1.ServiceTypeNodePort && in.Spec.Type != corev1.ServiceTypeLoadBalancer:
		f.add(field, value, "a Service of type %q has no node ports; set type NodePort or LoadBalancer, or remove it", in.Spec.Type)
		return 0
	case seen.nodePorts[key]:
		f.add(field, value, "an earlier port has the same node port and protocol, and is the one served; choose another")
		return 0
	}
	seen.nodePorts[key] = true
	return number
}

func (f *findings) policy(in *corev1.Service) Policy {
	out := Policy{
		AffinityTimeout: f.affinity(in),
		PublishNotReady: in.Spec.PublishNotReadyAddresses,
		ExternalLocal:   f.externalLocal(in),
	}
	if in.Spec.InternalTrafficPolicy != nil {
		out.InternalLocal = f.local("spec.internalTrafficPolicy", string(*in.Spec.InternalTrafficPolicy))
	}
	if in.Spec.TrafficDistribution != nil {
		out.Distribution = *in.Spec.TrafficDistribution
	}
	if out.ExternalLocal && in.Spec.Type == corev1.ServiceTypeLoadBalancer {
		out.HealthCheckNodePort = f.healthCheckNodePort(in)
	}
	return out
}

// local reads a traffic policy; an unknown one counts as the default.
func (f *findings) local(field, value string) bool {
	switch value {
	case string(corev1.ServiceExternalTrafficPolicyLocal):
		return true
	case string(corev1.ServiceExternalTrafficPolicyCluster), "":
		return false
	}
	f.add(field, value, "unknown policy, treated as Cluster; use Cluster or Local")
	return false
}

// externalLocal reads the external policy, which the API gives a meaning only where there is something external.
func (f *findings) externalLocal(in *corev1.Service) bool {
	local := f.local("spec.externalTrafficPolicy", string(in.Spec.ExternalTrafficPolicy))
	switch in.Spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		return local
	case corev1.ServiceTypeClusterIP, "":
		return local && len(in.Spec.ExternalIPs) > 0
	}
	f.add("spec.type", in.Spec.Type, "unknown type, treated as ClusterIP; use ClusterIP, NodePort, LoadBalancer or ExternalName")
	return local && len(in.Spec.ExternalIPs) > 0
}

func (f *findings) healthCheckNodePort(in *corev1.Service) uint16 {
	if in.Spec.HealthCheckNodePort == 0 {
		f.add("spec.healthCheckNodePort", 0, "externalTrafficPolicy Local without it: the load balancer cannot tell which nodes have endpoints; set a free node port")
		return 0
	}
	number, ok := f.port("spec.healthCheckNodePort", in.Spec.HealthCheckNodePort)
	if !ok {
		return 0
	}
	for _, port := range in.Spec.Ports {
		if port.NodePort == in.Spec.HealthCheckNodePort && (port.Protocol == corev1.ProtocolTCP || port.Protocol == "") {
			f.add("spec.healthCheckNodePort", number, "also the node port of a port of this Service; choose another")
			return 0
		}
	}
	return number
}

// affinity returns the timeout of ClientIP affinity, or 0 for none.
func (f *findings) affinity(in *corev1.Service) time.Duration {
	switch in.Spec.SessionAffinity {
	case corev1.ServiceAffinityNone, "":
		return 0
	case corev1.ServiceAffinityClientIP:
	default:
		f.add("spec.sessionAffinity", in.Spec.SessionAffinity, "unknown affinity, treated as None; use None or ClientIP")
		return 0
	}
	config := in.Spec.SessionAffinityConfig
	if config == nil || config.ClientIP == nil || config.ClientIP.TimeoutSeconds == nil {
		return defaultAffinity
	}
	seconds := *config.ClientIP.TimeoutSeconds
	timeout := time.Duration(seconds) * time.Second
	if timeout < minAffinity || timeout > maxAffinity {
		f.add("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, "outside 1 to %d seconds, treated as %d; choose a value inside",
			int(maxAffinity.Seconds()), int(defaultAffinity.Seconds()))
		return defaultAffinity
	}
	return timeout
}
