package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kube-ipvs-proxy/e2e/topology"
)

// The Service's ports.
const (
	servicePort = 80
	nodePort    = 30080
	targetPort  = 8080
)

// clusterIP is the Service's.
func clusterIP() netip.Addr { return netip.AddrFrom4([4]byte{10, 96, 0, 10}) }

// The conditions of an endpoint.
const (
	ready       = "{ready: true}"
	terminating = "{ready: false, serving: true, terminating: true}"
)

// manifest is the file that the daemon serves: a Service and the endpoints behind it.
type manifest struct {
	dir       string
	endpoints []endpoint
}

type endpoint struct {
	pod        string
	node       string
	address    netip.Addr
	conditions string
}

func endpointOf(pod *topology.Pod) endpoint {
	return endpoint{pod: pod.Name, node: pod.Host.Name, address: pod.IPv4, conditions: ready}
}

// String is the endpoint as the manifest has it.
func (e endpoint) String() string {
	return fmt.Sprintf("- {addresses: [%s], nodeName: %s, conditions: %s} # %s\n", e.address, e.node, e.conditions, e.pod)
}

// text is what the file holds.
func (m *manifest) text() string {
	var text strings.Builder
	fmt.Fprintf(&text, `apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: %s
  ports: [{port: %d, targetPort: %d, nodePort: %d}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: %d}]
endpoints:
`, clusterIP(), servicePort, targetPort, nodePort, targetPort)
	for _, e := range m.endpoints {
		text.WriteString(e.String())
	}
	return text.String()
}

func (m *manifest) path() string { return filepath.Join(m.dir, "web.yaml") }

// write puts the file in place by a rename, so that nobody reads half of it.
func (m *manifest) write() error {
	draft := filepath.Join(m.dir, ".draft")
	if err := os.WriteFile(draft, []byte(m.text()), 0o644); err != nil {
		return err
	}
	return os.Rename(draft, m.path())
}

// terminate makes a pod's endpoint a terminating one and returns its new line.
func (m *manifest) terminate(pod string) endpoint {
	i := m.index(pod)
	m.endpoints[i].conditions = terminating
	return m.endpoints[i]
}

// remove takes a pod's endpoint out.
func (m *manifest) remove(pod string) {
	i := m.index(pod)
	m.endpoints = slices.Delete(m.endpoints, i, i+1)
}

func (m *manifest) index(pod string) int {
	return slices.IndexFunc(m.endpoints, func(e endpoint) bool { return e.pod == pod })
}

// weights are the real servers that the kernel should have, with their weights, as the daemon sets them: 1 for
// whoever is ready, 0 for whoever only finishes its sessions.
func (m *manifest) weights() map[string]int {
	weights := map[string]int{}
	for _, e := range m.endpoints {
		weight := 1
		if e.conditions == terminating {
			weight = 0
		}
		weights[netip.AddrPortFrom(e.address, targetPort).String()] = weight
	}
	return weights
}

// serving are the pods that get new requests.
func (m *manifest) serving() []string {
	var pods []string
	for _, e := range m.endpoints {
		if e.conditions == ready {
			pods = append(pods, e.pod)
		}
	}
	return pods
}
