package config

import (
	"errors"
	"net/netip"
	"time"

	"k8s.io/kube-proxy/config/v1alpha1"

	"kube-ipvs-proxy/internal/service"
)

// ErrInvalid: the configuration cannot be used. The error that wraps it holds one line for each thing that is wrong,
// with the name of the field or flag, the value and the remedy.
var ErrInvalid = errors.New("invalid configuration")

// Host is what must be known of the machine to complete a configuration.
type Host struct {
	// Hostname is the node's name unless it is overridden; case and space around it do not matter.
	Hostname string
	// UDPTimeout and UDPStreamTimeout are the present nf_conntrack_udp_timeout and nf_conntrack_udp_timeout_stream; 0 if not
	// known, for the kernel's defaults of 30 and 120 seconds.
	UDPTimeout       time.Duration
	UDPStreamTimeout time.Duration
}

// Config is a complete configuration: defaulted, validated and typed.
type Config struct {
	API        API
	Node       Node
	IPVS       IPVS
	Masquerade Masquerade
	Conntrack  Conntrack
	Serve      Serve
	Logging    Logging
	Run        Run
	// File is the same as a KubeProxyConfiguration with all defaults filled in, as Encode prints it. Settings that have no
	// field there are not in it.
	File v1alpha1.KubeProxyConfiguration
	// Warnings say what was accepted but has no effect, or not the one to be expected; one sentence each.
	Warnings []string
}

// API says where Services, EndpointSlices and Nodes come from.
type API struct {
	Kubeconfig         string // path; may be empty
	Master             string // URL that overrides the one of the kubeconfig; may be empty
	ContentType        string // for example "application/vnd.kubernetes.protobuf"
	AcceptContentTypes string // Accept header; empty for the client's default
	QPS                float32
	Burst              int
	Resync             time.Duration // how often informers deliver everything again
	Manifests          string        // directory of manifests to read instead of, or beside, an API server; may be empty
}

// Node says who and where this node is.
type Node struct {
	Name string // in lower case
	// Bind is the node's own IP if bindAddress names one, and invalid (zero) if that is 0.0.0.0 or ::.
	Bind      netip.Addr
	NodePorts service.NodePortAddresses
}

// IPVS shapes virtual servers and the rhythm of the work on them.
type IPVS struct {
	Scheduler  string         // kernel name, "rr" unless set; whether the kernel has it is not known here
	NoFallback bool           // leave out the fall-back flag of the sh and mh schedulers
	Exclude    []netip.Prefix // masked; virtual servers in them are not ours
	StrictARP  bool

	// Idle timeouts of IPVS connections; 0 keeps the kernel's. The kernel counts in whole seconds.
	TCPTimeout    time.Duration
	TCPFinTimeout time.Duration
	UDPTimeout    time.Duration

	SyncPeriod    time.Duration // between two audits; positive
	MinSyncPeriod time.Duration // between the starts of two rounds; at most SyncPeriod, 0 for none
	DrainTimeout  time.Duration // how long a real server drains that no slice lists any more; 0 for not at all
}

// LocalMode says how traffic of the node's own pods is recognised: detectLocalMode.
type LocalMode string

// The modes.
const (
	LocalClusterCIDR         LocalMode = "ClusterCIDR"         // source inside Masquerade.CIDRs, if there are any
	LocalNodeCIDR            LocalMode = "NodeCIDR"            // source inside the Node object's podCIDRs
	LocalBridgeInterface     LocalMode = "BridgeInterface"     // came in by Masquerade.Interface
	LocalInterfaceNamePrefix LocalMode = "InterfaceNamePrefix" // the same, where Interface is a prefix and ends in "+"
)

// Masquerade says which traffic gets an address of the node as its source.
type Masquerade struct {
	All  bool
	Mark uint32 // exactly one bit
	// Marks are the packet marks that may be used otherwise; those with the bit of Mark are not.
	Marks service.MarkRange
	Mode  LocalMode
	// CIDRs are those of LocalClusterCIDR, masked, at most one of each family; empty in other modes.
	CIDRs []netip.Prefix
	// Interface is that of the two interface modes, as iptables -i takes it; empty in other modes.
	Interface string
}

// Conntrack holds limits and timeouts of connection tracking. A zero field leaves the kernel's value.
type Conntrack struct {
	MaxPerCore int // connections to track per CPU; 0 leaves nf_conntrack_max alone, whatever Min is
	Min        int // least number of connections to track, if MaxPerCore is not 0

	TCPBeLiberal          bool
	TCPEstablishedTimeout time.Duration
	TCPCloseWaitTimeout   time.Duration
	UDPTimeout            time.Duration // at least IPVS.UDPTimeout, or the host's is
	UDPStreamTimeout      time.Duration // the same
}

// Serve says what is served over HTTP.
type Serve struct {
	Healthz   string // IP:port; empty for not at all
	Metrics   string // IP:port; empty for not at all
	HardFail  bool   // an address that cannot be listened on ends the process
	Profiling bool   // /debug/pprof on Metrics
	// ServiceMetrics and EndpointMetrics are how many ports of Services, and endpoints of these, have metrics of their own at most.
	ServiceMetrics, EndpointMetrics int
}

// The log formats.
const (
	LogText = "text"
	LogJSON = "json"
)

// Logging says what is logged and how.
type Logging struct {
	Verbosity      int
	Format         string        // LogText or LogJSON
	FlushFrequency time.Duration // positive
	Modules        []LogModule   // the first that matches counts; empty with LogJSON
}

// LogModule overrides the verbosity for source files: one item of vmodule.
type LogModule struct {
	Pattern   string // glob over file names without directory and ".go"
	Verbosity int
}

// Run says what this process is to do: run, unless one of the first four is set.
type Run struct {
	ShowVersion bool   // print the version and exit; nothing else of the Config is set then
	WriteTo     string // write File there and exit
	Cleanup     bool   // remove what is ours from the kernel and exit
	KeepRival   bool   // with Cleanup: of it, keep what kube-proxy's mode ipvs works with
	InitOnly    bool   // do what needs full privileges and exit

	ConfigFile  string // the file that was read; empty if none
	OOMScoreAdj int    // for this process, -1000 to 1000
	Reload      bool   // follow changes of ConfigFile
}
