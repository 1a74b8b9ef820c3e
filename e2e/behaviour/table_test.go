package behaviour

import (
	"fmt"
	"net/netip"
	"strings"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// flagOf is how ipvsadm names a virtual server's protocol.
func flagOf(protocol topology.Protocol) string {
	return map[topology.Protocol]string{topology.TCP: "-t", topology.UDP: "-u", topology.SCTP: "--sctp-service"}[protocol]
}

// table is what ipvsadm -Sn has to print for a Service: the scheduler with its options, and the pods as real servers.
func table(service *cluster.Service, ways []cluster.Way, scheduler string, pods ...*topology.Pod) string {
	var text strings.Builder
	for _, way := range ways {
		server := fmt.Sprintf("%s %s", flagOf(way.Protocol), service.Target(way).AddrPort)
		fmt.Fprintf(&text, "-A %s -s %s\n", server, scheduler)
		for _, pod := range pods {
			fmt.Fprintf(&text, "-a %s -r %s -m -w 1\n", server, endpointOf(pod, way.Family))
		}
	}
	return text.String()
}

// endpointOf is a pod's endpoint as ipvsadm prints it.
func endpointOf(pod *topology.Pod, family topology.Family) string {
	if family == topology.IPv4 {
		return fmt.Sprintf("%s:%d", pod.IPv4, cluster.TargetPort)
	}
	return fmt.Sprintf("[%s]:%d", pod.IPv6, cluster.TargetPort)
}

// ipsOf are a Service's ClusterIPs.
func ipsOf(service *cluster.Service) []netip.Addr {
	return []netip.Addr{service.Address(cluster.ClusterIP, topology.IPv4), service.Address(cluster.ClusterIP, topology.IPv6)}
}
