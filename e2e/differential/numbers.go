package differential

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// mostServices is how many Services a case can tell apart, which bounds the ports below.
const mostServices = 450

// What a Service is reached by follows from its number, so that a case is the same wherever it runs and two Services never
// want the same.

func serviceName(number int) string { return fmt.Sprintf("s%d", number) }

func clusterIP(number int, family corev1.IPFamily) string {
	return numbered("10.96", "fd00:10:96::", 10, number, family)
}

func externalIP(number int, family corev1.IPFamily) string {
	return numbered("198.18", "2001:db8:18::", 0, number, family)
}

func loadBalancerIP(number int, family corev1.IPFamily) string {
	return numbered("198.19", "2001:db8:19::", 0, number, family)
}

func numbered(four, six string, from, number int, family corev1.IPFamily) string {
	if family == corev1.IPv6Protocol {
		return fmt.Sprintf("%s%x", six, 0x1000+number)
	}
	return fmt.Sprintf("%s.%d.%d", four, from+number/200, 10+number%200)
}

// ownPort is a port number that no other Service has; i counts the Service's ports up to 4.
func ownPort(number, i int) int32 { return int32(1000 + 4*number + i) }

func nodePort(number, i int) int32 { return int32(30000 + 4*number + i) }

func healthCheckNodePort(number int) int32 { return int32(32000 + number) }

// sharedIP is an external or load-balancer IP that several Services have, on ports of their own.
func sharedIP(family corev1.IPFamily) string {
	if family == corev1.IPv6Protocol {
		return "2001:db8:18::ffff"
	}
	return "198.18.255.1"
}

// nodeIP is the address of node 1 or 2 in package topology.
func nodeIP(node int, family corev1.IPFamily) string {
	if family == corev1.IPv6Protocol {
		return netip.MustParseAddr(fmt.Sprintf("fd00:172:18::%x", 10+node)).String()
	}
	return fmt.Sprintf("172.18.0.%d", 10+node)
}

// podIP is the address of a pod of node 1 or 2.
func podIP(node, pod int, family corev1.IPFamily) string {
	if family == corev1.IPv6Protocol {
		return fmt.Sprintf("fd00:10:244:%x::%x", node, 16+pod)
	}
	return fmt.Sprintf("10.244.%d.%d", node, 16+pod)
}

// families are both, in the usual order.
func families() []corev1.IPFamily {
	return []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
}
