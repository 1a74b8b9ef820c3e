package service

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// autoscalerTaint marks a node that the cluster autoscaler is about to remove.
const autoscalerTaint = "ToBeDeletedByClusterAutoscaler"

// FromNode returns what the proxy needs of its own Node, and a Problem for everything in it that cannot be used.
func FromNode(in *corev1.Node) (Node, []Problem) {
	f := findingsOf("Node", "", in.Name)
	out := Node{Name: in.Name, Zone: in.Labels[corev1.LabelTopologyZone], Deleting: in.DeletionTimestamp != nil}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for i, address := range in.Status.Addresses {
			if address.Type != kind {
				continue
			}
			if addr, ok := f.address(fmt.Sprintf("status.addresses[%d].address", i), address.Address, loopbackAllowed|linkLocalAllowed); ok {
				out.Addresses = appendNew(out.Addresses, addr)
			}
		}
	}
	cidrs, field := in.Spec.PodCIDRs, "spec.podCIDRs[%d]"
	if len(cidrs) == 0 && in.Spec.PodCIDR != "" {
		cidrs, field = []string{in.Spec.PodCIDR}, "spec.podCIDR"
	}
	for i, value := range cidrs {
		name := field
		if len(in.Spec.PodCIDRs) > 0 {
			name = fmt.Sprintf(field, i)
		}
		if prefix, ok := f.prefix(name, value); ok {
			out.PodCIDRs = appendNew(out.PodCIDRs, prefix)
		}
	}
	for _, taint := range in.Spec.Taints {
		out.Excluded = out.Excluded || taint.Key == autoscalerTaint
	}
	return out, f.problems
}
