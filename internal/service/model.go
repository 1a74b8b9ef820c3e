package service

import (
	"fmt"
	"net/netip"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// Name is the namespace and name of an object.
type Name struct{ Namespace, Name string }

// String returns "namespace/name".
func (n Name) String() string { return n.Namespace + "/" + n.Name }

// Service is what the proxy needs of a Service that it serves: not ExternalName, not headless, not another proxy's.
// Values are immutable once built.
type Service struct {
	Name    Name
	UID     string    // of the API object; empty when no API server has it
	Created time.Time // decides between conflicting Services: the older wins, then the name
	VIPs    VIPs
	Ports   []Port
	Policy  Policy
	// Families are those the Service is in, IPv4 first, never empty once converted: NodePorts exist in these only. No
	// VIP is of another family.
	Families []dataplane.Family
}

// VIPs are the addresses a Service answers on, apart from the node's own. All are valid, unmapped and unicast.
type VIPs struct {
	Cluster      []netip.Addr
	External     []netip.Addr
	LoadBalancer []netip.Addr // status.loadBalancer.ingress with ipMode VIP
}

// Port is one port of a Service.
type Port struct {
	Name     string // matches the port of the same name in the slices
	Protocol dataplane.Protocol
	Port     uint16
	NodePort uint16 // 0 for none
}

// Policy is how a Service chooses among its endpoints.
type Policy struct {
	AffinityTimeout     time.Duration // ClientIP session affinity; 0 for none
	InternalLocal       bool          // internalTrafficPolicy: Local
	ExternalLocal       bool          // externalTrafficPolicy: Local
	Distribution        string        // spec.trafficDistribution, verbatim; empty for none
	HealthCheckNodePort uint16        // 0 for none
	SourceRanges        []netip.Prefix
	PublishNotReady     bool
}

// Slice is what the proxy needs of an EndpointSlice.
type Slice struct {
	Name      Name
	Service   string // name of the Service, in the slice's namespace
	Ports     []SlicePort
	Endpoints []Endpoint
	Triggered time.Time // annotation endpoints.kubernetes.io/last-change-trigger-time; zero when absent
}

// SlicePort is a port of every endpoint of a slice.
type SlicePort struct {
	Name     string
	Protocol dataplane.Protocol
	Port     uint16
}

// Endpoint is one endpoint of a slice.
type Endpoint struct {
	Addr        netip.Addr
	Node, Zone  string
	Ready       bool
	Serving     bool
	Terminating bool
	ForZones    []string // topology hints; empty for none
	ForNodes    []string
}

// Leaving reports whether the endpoint is on its way out: when it vanishes from the slices, it is gone.
func (e Endpoint) Leaving() bool { return e.Terminating || !e.Serving }

// Node is what the proxy needs of its own Node object.
type Node struct {
	Name      string
	Zone      string       // label topology.kubernetes.io/zone
	Addresses []netip.Addr // InternalIP first, then ExternalIP, in the object's order
	PodCIDRs  []netip.Prefix
	Deleting  bool // deletionTimestamp is set
	Excluded  bool // tainted ToBeDeletedByClusterAutoscaler
}

// Facts are what the node itself contributes to the meaning of Services.
type Facts struct {
	Node          Node
	Bind          netip.Addr   // bindAddress: the node's IP in its family, whatever the Node object says; zero for none
	Local         []netip.Addr // addresses of the node's interfaces, kube-ipvs0 apart
	OtherNodes    []netip.Addr // addresses of the other Nodes as far as known, sorted
	NodePortAddrs []netip.Addr // those of Local on which NodePorts are served: NodePortAddresses.Select
	Families      []dataplane.Family
}

// Options are the settings that shape what Services become in the kernel. Fixed for the life of the process.
type Options struct {
	Scheduler  string // kernel name of the scheduler, for example "rr"
	NoFallback bool   // leave out the fall-back flag of the sh and mh schedulers
	Masquerade Masquerade
	Marks      MarkRange
}

// Masquerade says which traffic leaves with an address of the node as its source.
type Masquerade struct {
	All   bool     // masqueradeAll: everything sent to a ClusterIP
	Mark  uint32   // the packet mark that asks for it, one bit; 0 for DefaultMark
	Local Detector // what counts as traffic of this node's own pods; zero for unknown
}

// Bit returns the packet mark that asks for masquerading.
func (m Masquerade) Bit() uint32 {
	if m.Mark == 0 {
		return DefaultMark
	}
	return m.Mark
}

// DefaultMark is the packet mark for a masqueradeBit of 14, the default.
const DefaultMark = 1 << 14

// Detector tells traffic of this node's own pods from other traffic, by one of its fields.
type Detector struct {
	CIDRs     []netip.Prefix // pod addresses; the first of each family counts
	Interface string         // name of the interface the packets come in by; a trailing "+" makes it a prefix
	NodeCIDRs bool           // CIDRs are the Node object's podCIDRs, whatever they are at the moment
}

// Problem is something in an object that cannot be used. The rest of the object, and all other objects, go on.
type Problem struct {
	Object string // kind and namespace/name, for example "Service default/web"
	Field  string // path, for example "spec.ports[0].protocol"; empty for the whole object
	Value  string // the offending value
	Reason string // what is wrong and what to do
	UID    string // of the API object; empty when no API server has it
	Rival  string // kind and name of the object that has what this one wants; empty when it is no conflict
}

// Error returns one line with object, field, value and reason.
func (p Problem) Error() string {
	switch {
	case p.Field == "":
		return fmt.Sprintf("%s: %s", p.Object, p.Reason)
	case p.Value == "":
		return fmt.Sprintf("%s: %s: %s", p.Object, p.Field, p.Reason)
	}
	return fmt.Sprintf("%s: %s %q: %s", p.Object, p.Field, p.Value, p.Reason)
}

// Sink receives objects from a source. Methods may be called from several goroutines; none blocks on the kernel.
// Each source calls Complete once, when everything that existed at its start has been delivered.
type Sink interface {
	SetService(Service)
	DeleteService(Name)
	SetSlice(Slice)
	DeleteSlice(Name)
	SetNode(Node)
	DeleteNode(name string)
	// SetOtherNodes replaces the addresses of all other Nodes, sorted, as far as a source knows them.
	SetOtherNodes([]netip.Addr)
	// Report replaces the problems known of an object; none clears them.
	Report(object string, problems []Problem)
	Complete(source string)
}
