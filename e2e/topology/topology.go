package topology

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
)

// PodNetwork says how pods are attached to their node.
type PodNetwork int

const (
	// Bridged puts a node's pods on a bridge named cni0 that holds their gateway address.
	Bridged PodNetwork = iota
	// Routed gives every pod a link of its own, named veth and a number, to which
	// the node routes the pod's addresses.
	Routed
)

// The names of links, the same in every namespace.
const (
	// UplinkName is the link of a node or client to the others, and of a pod to its node.
	UplinkName = "eth0"
	// PodBridgeName is the bridge of a node's pods, if they are bridged.
	PodBridgeName = "cni0"
	// PodLinkPrefix begins the names of a node's links to its pods.
	PodLinkPrefix = "veth"
)

const fabricBridge = "fabric0"

// Options choose among topologies. The zero value is the usual one.
type Options struct {
	// Pods says how pods are attached.
	Pods PodNetwork
	// NoBridgeNetfilter turns bridge-nf-call-iptables and -ip6tables off on the nodes.
	NoBridgeNetfilter bool
}

// Topology is a network of nodes, pods and clients. It is gone when the test ends.
type Topology struct {
	// Node runs the program under test; its name is node-1.
	Node *Host
	// Node2 is another node, node-2.
	Node2 *Host
	// Client is outside the cluster; its name is client.
	Client *Host

	options Options
	fabric  *Netns
	nodes   []*Host
	clients int
}

// New builds two nodes and a client, without pods. It fails the test on any error.
func New(t testing.TB, options Options) *Topology {
	t.Helper()
	fabric, err := newNetns("fabric")
	if err != nil {
		t.Fatal(err)
	}
	fabric.closeAfter(t)
	for _, step := range []func() error{
		func() error { return fabric.setSysctls(hostSettings()) },
		func() error { return fabric.setBridgeNetfilter(false) },
		func() error { return fabric.addBridge(fabricBridge, bridgeHardware(0)) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	topology := &Topology{options: options, fabric: fabric}
	topology.Node = topology.AddNode(t, "node-1")
	topology.Node2 = topology.AddNode(t, "node-2")
	topology.Client = topology.AddClient(t, "client")
	return topology
}

// AddNode adds a node and routes between its pods and those of all other nodes.
func (top *Topology) AddNode(t testing.TB, name string) *Host {
	t.Helper()
	number := len(top.nodes) + 1
	if number > maxNodes {
		t.Fatalf("a topology holds %d nodes at most", maxNodes)
	}
	host := top.addHost(t, name, firstNode+number-1)
	host.subnets = podSubnets(number)
	host.options = top.options
	if err := host.becomeNode(number); err != nil {
		t.Fatal(err)
	}
	for _, other := range top.nodes {
		if err := connect(host, other); err != nil {
			t.Fatal(err)
		}
	}
	top.nodes = append(top.nodes, host)
	return host
}

// AddClient adds a host outside the cluster that reaches the nodes' own addresses.
func (top *Topology) AddClient(t testing.TB, name string) *Host {
	t.Helper()
	top.clients++
	if top.clients > maxClients {
		t.Fatalf("a topology holds %d clients at most", maxClients)
	}
	return top.addHost(t, name, firstClient+top.clients-1)
}

// addHost adds a namespace with an uplink to the fabric, at the given place in the underlay.
func (top *Topology) addHost(t testing.TB, name string, place int) *Host {
	t.Helper()
	namespace, err := newNetns(name)
	if err != nil {
		t.Fatal(err)
	}
	namespace.closeAfter(t)
	addresses := nth(underlay(), place)
	namespace.IPv4, namespace.IPv6 = addresses.four, addresses.six
	port := fmt.Sprintf("port%d", place)
	for _, step := range []func() error{
		func() error { return namespace.setSysctls(hostSettings()) },
		func() error { return namespace.addVeth(UplinkName, top.fabric, port) },
		func() error { return top.fabric.attach(port, fabricBridge, false) },
		func() error { return namespace.addAddresses(UplinkName, within(addresses, underlay())) },
		func() error { return namespace.awaitCarrier(UplinkName) },
		func() error { return top.fabric.awaitCarrier(port) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return &Host{Netns: namespace}
}

// connect routes two nodes' pods to each other.
func connect(a, b *Host) error {
	for _, direction := range [][2]*Host{{a, b}, {b, a}} {
		from, to := direction[0], direction[1]
		for _, subnet := range []netip.Prefix{to.subnets.four, to.subnets.six} {
			if err := from.addRoute(subnet, to.Address(FamilyOf(subnet.Addr())), UplinkName); err != nil {
				return err
			}
		}
	}
	return nil
}

// bridgeHardware is the hardware address of a node's bridge, or the fabric's.
func bridgeHardware(number int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x42, 0, 0, 0, byte(number)}
}
