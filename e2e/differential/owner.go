package differential

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Owners returns the Services among the writes that an item of the kernel may be about: those with an address, a node port
// or a health-check node port in it.
func Owners(item Item, ops []Op) []string {
	text := item.Of
	if item.Kind == Entry || item.Kind == Address {
		text = item.Text
	}
	mentioned := mentions(text)
	var owners []string
	for _, op := range ops {
		if op.Service == nil || slices.Contains(owners, op.Service.Name) {
			continue
		}
		if slices.ContainsFunc(names(op.Service), func(name string) bool { return slices.Contains(mentioned, name) }) {
			owners = append(owners, op.Service.Name)
		}
	}
	return owners
}

// About leaves of a case what is about the Services that the differences are about. That is all of it if it cannot be told.
func About(c Case, differences []Difference) Case {
	var all []Op
	for _, step := range c.Steps {
		all = append(all, step...)
	}
	var owners []string
	for _, d := range differences {
		owners = append(owners, Owners(d.Item, all)...)
	}
	if len(owners) == 0 {
		return c
	}
	out := Case{Settings: c.Settings}
	for _, step := range c.Steps {
		var kept []Op
		for _, op := range step {
			if slices.Contains(owners, op.Owner()) {
				kept = append(kept, op)
			}
		}
		if len(kept) > 0 {
			out.Steps = append(out.Steps, kept)
		}
	}
	return out
}

// names are all by which a Service shows in the kernel, as mentions writes them.
func names(s *corev1.Service) []string {
	addresses := slices.Concat(s.Spec.ClusterIPs, s.Spec.ExternalIPs)
	for _, ingress := range s.Status.LoadBalancer.Ingress {
		addresses = append(addresses, ingress.IP)
	}
	var out []string
	for _, address := range addresses {
		if addr, err := netip.ParseAddr(address); err == nil {
			out = append(out, addr.String())
			for _, port := range s.Spec.Ports { // for addresses that Services share
				out = append(out, fmt.Sprintf("%s port %d", addr, port.Port))
			}
		}
	}
	for _, port := range s.Spec.Ports {
		if port.NodePort != 0 {
			out = append(out, fmt.Sprintf("port %d", port.NodePort))
		}
	}
	if s.Spec.HealthCheckNodePort != 0 {
		out = append(out, fmt.Sprintf("port %d", s.Spec.HealthCheckNodePort))
	}
	return out
}

// mentions returns the addresses and ports in a virtual server's name, an address or an element.
func mentions(text string) []string {
	var addr string
	var out []string
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
		for _, protocol := range []string{"tcp:", "udp:", "sctp:"} {
			if port, found := strings.CutPrefix(field, protocol); found {
				out = append(out, "port "+port, addr+" port "+port)
			}
		}
		if at, err := netip.ParseAddrPort(field); err == nil {
			out = append(out, fmt.Sprintf("%s port %d", at.Addr(), at.Port()), fmt.Sprintf("port %d", at.Port()))
			continue
		}
		address, _, _ := strings.Cut(field, "/")
		if parsed, err := netip.ParseAddr(address); err == nil && addr == "" {
			addr = parsed.String()
			if !strings.Contains(text, ",") { // an address alone
				out = append(out, addr)
			}
		} else if !strings.ContainsAny(field, ":./-") {
			out = append(out, "port "+field)
		}
	}
	return out
}
